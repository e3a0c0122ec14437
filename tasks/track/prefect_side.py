"""What Prefect knows of the run around us, and what we show there."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger("loom.track")


@dataclass(frozen=True)
class PrefectSide:
    """The flow run and task run that we are in; empty outside of Prefect."""

    flow_run_id: str | None = None
    run_name: str | None = None
    flow_name: str | None = None
    flow_tags: dict[str, str] = field(default_factory=dict)
    task_tags: dict[str, str] = field(default_factory=dict)

    @property
    def is_deployed(self) -> bool:
        """Whether the flow run belongs to a deployment, which can wake it up again."""
        return "prefect.deployment_id" in self.flow_tags


def prefect_side() -> PrefectSide:
    """Read the Prefect context of this thread."""
    from prefect.context import FlowRunContext, TaskRunContext

    task = TaskRunContext.get()
    task_tags = {"prefect.task_run_id": str(task.task_run.id)} if task else {}
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return PrefectSide(task_tags=task_tags)
    run = context.flow_run
    flow_name = context.flow.name if context.flow else run.name
    tags = {"prefect.flow_run_id": str(run.id), "prefect.flow_name": flow_name}
    tags["mlflow.source.name"] = f"loom run {flow_name}"
    if run.deployment_id:
        tags["prefect.deployment_id"] = str(run.deployment_id)
    return PrefectSide(str(run.id), f"{flow_name}/{run.name}", flow_name, tags, task_tags)


def publish_summary(
    side: PrefectSide, url: str | None, metrics: Mapping[str, float], error: BaseException | None
) -> None:
    """Show the MLflow link and the figures as artifacts of the flow run.

    One key per flow, so that the Prefect UI keeps a history page.
    """
    if side.flow_run_id is None or side.flow_name is None:
        return
    from prefect.artifacts import create_link_artifact, create_markdown_artifact

    lines = [f"# {side.run_name}", ""]
    if error is not None:
        lines += [f"**{type(error).__name__}**: {error}", ""]
    where = f"[MLflow run]({url})" if url else "kept on disk until `loom sync` reaches MLflow"
    lines += [f"Tracked: {where}", ""]
    if metrics:
        lines += ["| figure | value |", "|---|---|"]
        lines += [f"| {name} | {value:,.6g} |" for name, value in sorted(metrics.items())]
    try:
        if url:
            create_link_artifact(
                link=url, link_text="MLflow run", key=f"{side.flow_name}-mlflow-run"
            )
        create_markdown_artifact("\n".join(lines), key=f"{side.flow_name}-summary")
    except Exception as failure:
        # The run itself is recorded; a missing picture of it must not fail the flow.
        log.warning("could not show the summary in Prefect: %s", failure)


def mark_crashed(flow_run_ids: Iterable[str], message: str) -> None:
    """Tell Prefect that flow runs died; it would show them as running for good."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    with get_client(sync_client=True) as client:
        for flow_run_id in flow_run_ids:
            try:
                client.set_flow_run_state(UUID(flow_run_id), Crashed(message=message), force=True)
            except Exception as error:
                log.warning("could not mark flow run %s as crashed: %s", flow_run_id, error)


def show_table(key: str, frame: pd.DataFrame, description: str) -> None:
    """Show a frame as a table artifact of the flow run; numbers are rounded for reading."""
    from prefect.artifacts import create_table_artifact

    rounded = frame.round(4).astype(object).where(frame.notna(), None)
    rows = [{str(name): value for name, value in row.items()} for row in rounded.to_dict("records")]
    create_table_artifact(table=rows, key=key, description=description)

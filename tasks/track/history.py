"""Recent runs with their figures and both links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from models.errors import ServiceError
from models.settings import Settings, get_settings, masked
from tasks.track.links import FLOW_RUN_TAG, mlflow_run_url, prefect_run_url
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.spool import spooled_runs


class RecentRun(NamedTuple):
    """One tracked flow run."""

    experiment: str
    flow: str
    name: str
    status: str
    start_ms: int
    duration_s: float | None
    mlflow_url: str
    prefect_url: str | None
    error: str | None
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def recent_runs(
    limit: int = 20, flow: str | None = None, settings: Settings | None = None
) -> list[RecentRun]:
    """Return the newest flow runs, newest first; child runs are left out.

    Args:
        limit: How many at most.
        flow: Only runs of this Prefect flow name.
        settings: Where to ask; None: this process's settings.

    Raises:
        ServiceError: The tracking server is out of reach.
    """
    settings = settings or get_settings()
    try:
        return _recent_runs(limit, flow, settings)
    except Exception as error:
        if is_caller_error(error):
            raise
        raise ServiceError(
            f"tracking server {masked(settings.tracking_uri)} does not answer: "
            f"{brief(error)}; start it, or mend LOOM_MLFLOW_TRACKING_URI "
            f"({len(spooled_runs(settings))} runs wait on disk "
            "for it)"
        ) from error


def _recent_runs(limit: int, flow: str | None, settings: Settings) -> list[RecentRun]:
    store = MlflowStore(settings)
    experiments = {e.experiment_id: e.name for e in store.client.search_experiments()}
    query = (
        "tags.`prefect.flow_name` != ''" if flow is None else f"tags.`prefect.flow_name` = '{flow}'"
    )
    found = store.client.search_runs(
        list(experiments), query, max_results=limit, order_by=["attributes.start_time DESC"]
    )
    runs = []
    for run in found:
        tags, info = run.data.tags, run.info
        flow_run = tags.get(FLOW_RUN_TAG)
        ended = info.end_time
        runs.append(
            RecentRun(
                experiments[info.experiment_id],
                tags["prefect.flow_name"],
                info.run_name or info.run_id,
                info.status,
                info.start_time,
                (ended - info.start_time) / 1000 if ended else None,
                mlflow_run_url(info.experiment_id, info.run_id, settings),
                prefect_run_url(flow_run, settings) if flow_run else None,
                tags.get("error.message"),
                tags,
                run.data.metrics,
            )
        )
    return runs

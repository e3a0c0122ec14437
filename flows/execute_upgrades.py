"""Carry out an upgrade plan (Acela): windows, waves, gates, approvals, rollback, audit log."""

from __future__ import annotations

from dataclasses import replace

from prefect import flow

from models.figures import FlowSummary
from models.upgrades.execute import ExecuteConfig, execution_summary, halt_reason, read_plan
from tasks.collect import read_dataset, read_history
from tasks.execute import (
    PLAN_ARTIFACT,
    build_executor,
    carry_out,
    find_plan,
    places_of,
    refuse_unknown_state,
)
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run
from tasks.track.artifacts import has_store


@flow(
    name="execute-upgrades",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def execute_upgrades(config: ExecuteConfig = ExecuteConfig()) -> FlowSummary:  # noqa: B008
    """Carry out what is left of a plan; without `dry_run: false` nothing is even simulated.

    Args:
        config: Which plan, what is approved, when a release pauses.

    Raises:
        RolloutHaltedError: The kill switch stopped it: the run fails, the log is kept.
    """
    with tracked_run("upgrades", config) as run:
        plan = find_plan(config, run)
        history = None
        if not config.dry_run:
            history = read_history(read_dataset(config.data, config.mapping, run).frame)
        executor = build_executor(plan, history, config, run)
        result = carry_out(plan, executor, config, run)

        audit = places_of(plan, config, run.run_id).audit
        summary = execution_summary(result, executor.name, is_dry=config.dry_run)
        return replace(
            summary, mlflow_url=run.url, prefect_url=run.prefect_url, files={"audit log": audit}
        )


def preview(config: ExecuteConfig) -> list[str]:
    """Say what a run would carry out, without running it (`loom run --dry-run`)."""
    executor = "no-op: nothing is started" if config.dry_run else "simulated"
    lines = [f"executor: {executor}"]
    if config.plan is not None:
        plan = read_plan(config.plan)
        refuse_unknown_state(plan, config)
        places = places_of(plan, config, "preview")
        stopped = halt_reason(places.halt)
        lines += [
            f"plan: {config.plan}, {len(plan.works)} placed tasks, digest {plan.digest[:16]}",
            f"halt file: {places.halt} ({stopped or 'not there'})",
            f"audit log: {places.audit} ({'goes on' if places.audit.exists() else 'new'})",
        ]
    elif config.plan_run is not None:
        lines.append(f"plan: {PLAN_ARTIFACT} of the tracked run {config.plan_run}")
    elif has_store():
        lines.append(f"plan: {PLAN_ARTIFACT} of the newest finished run of {config.plan_flow}")
    else:
        lines.append(f"plan: none on record; first: loom run {config.plan_flow}")
    return lines

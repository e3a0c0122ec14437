"""Carry out an upgrade plan (Acela): windows, waves, gates, approvals, rollback, audit log."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from prefect import flow

from models.figures import FlowSummary
from models.upgrades.execute import (
    ExecuteConfig,
    execution_summary,
    groups_to_resume,
    halt_reason,
    paused_in,
    read_entries,
    rollback_summary,
)
from tasks.collect import read_dataset, read_history
from tasks.execute import build_executor, carry_out, find_plan, places_of, refuse_unknown_state
from tasks.plan_origin import PLAN_ARTIFACT, PlanOrigin, locate_plan
from tasks.runner import task_runner
from tasks.take_back import refuse_what_cannot_be_undone, roll_back, rollback_source
from tasks.track import close_abandoned_run, tracked_run
from tasks.track.artifacts import NoSuchArtifactError, has_store


@flow(
    name="execute-upgrades",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def execute_upgrades(config: ExecuteConfig = ExecuteConfig()) -> FlowSummary:  # noqa: B008
    """Carry out what is left of a plan, or take a release of it back.

    Without `dry_run: false` nothing is started, not even in a simulation. No host is ever
    touched: the executors that are shipped simulate or do nothing.

    Args:
        config: Which plan, what is approved, when a release pauses; `rollback` takes one back.

    Raises:
        RolloutHaltedError: The kill switch stopped it: the run fails, the log is kept.
        RolloutPausedError: A release is paused and `fail_on_pause` is set.
    """
    with tracked_run("upgrades", config) as run:
        origin = find_plan(config, run)
        plan, config = origin.plan, origin.config
        history = None
        if not config.dry_run:
            history = read_history(read_dataset(config.data, config.mapping, run).frame)
        executor = build_executor(plan, history, config, run)
        if config.rollback is None:
            carried = carry_out(plan, executor, config, run)
            summary = execution_summary(carried, executor.name, is_dry=config.dry_run)
        else:
            undone = roll_back(plan, executor, config, run)
            summary = rollback_summary(
                *(undone, executor.name),
                is_dry=config.dry_run,
                source=rollback_source(plan, config),
            )

        audit = places_of(plan, config, run.run_id).audit
        return replace(
            summary, mlflow_url=run.url, prefect_url=run.prefect_url, files={"audit log": audit}
        )


def preview(config: ExecuteConfig) -> list[str]:
    """Say what a run would carry out, without running it (`loom run --dry-run`)."""
    executor = (
        "no-op: a dry run, nothing is started; dry_run=false simulates"
        if config.dry_run
        else "simulated: no host is touched"
    )
    lines = [f"executor: {executor}"]
    if config.plan is None and not has_store():
        return [*lines, f"plan: none on record; first: loom run {config.plan_flow}"]
    with tempfile.TemporaryDirectory(prefix="loom-plan-") as folder:
        try:
            origin = locate_plan(config, Path(folder))
        except NoSuchArtifactError as error:
            return [*lines, f"plan: no {PLAN_ARTIFACT} to carry out: {error}"]
    return [*lines, *_plan_lines(origin)]


def _plan_lines(origin: PlanOrigin) -> list[str]:
    plan, config = origin.plan, origin.config
    refuse_unknown_state(plan, config)
    places = places_of(plan, config, "RUN_ID")
    if config.rollback is not None:
        refuse_what_cannot_be_undone(plan, config)
        kind = "; the log is read, not touched" if config.dry_run else "; the log goes on"
        what = [f"takes back: release {config.rollback}, {rollback_source(plan, config)}{kind}"]
    else:
        kind = "goes on" if places.audit.exists() else "new"
        what = [f"audit log: {places.audit} ({kind})", *_resume_lines(origin)]
    stopped = halt_reason(places.halt)
    return [
        f"plan: {origin.name}",
        f"tasks: {len(plan.works)} placed tasks of {len(plan.frame)}, digest {plan.digest[:16]}",
        f"fleet: {config.fleet or 'none'}; history: {config.data or 'the bundled one'}",
        *what,
        f"halt file: {places.halt} ({f'STOPS THE RUN: {stopped}' if stopped else 'not there'})",
    ]


def _resume_lines(origin: PlanOrigin) -> list[str]:
    """Say which paused releases go on; a name that the plan lacks is refused."""
    plan, config = origin.plan, origin.config
    if not config.resume:
        return []
    log = places_of(plan, config.model_copy(update={"dry_run": False}), "RUN_ID").audit
    paused = paused_in(read_entries(log)) if log.exists() else set()
    resumed = groups_to_resume(config.resume, plan.works, paused)
    names = ", ".join(map(str, resumed)) or "nothing, since none of these is paused"
    own = "; a dry run has a log of its own, in which nothing is paused" if config.dry_run else ""
    return [f"resumes: {names} by the log {log}{own}"]

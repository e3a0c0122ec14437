"""Place work in windows."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ServiceError
from models.settings import get_settings
from models.upgrades import (
    DurationModel,
    History,
    Policy,
    RolloutPlan,
    Split,
    UpgradeConfig,
    plan_rollout,
)
from models.upgrades.fleet import Fleet
from models.upgrades.fleet_report import FleetReportInputs, fleet_figures, render_fleet_report
from models.upgrades.rollout import PlanDiff, RolloutConfig, plan_diff, plan_fleet, to_ical
from models.upgrades.rollout.backlog import forecast_backlog
from tasks.track import TrackedRun
from tasks.track.artifacts import NoSuchArtifactError, fetch_artifact
from tasks.track.content import write_file

# Share of the last plan's tasks that must be in this one to compare them.
SAME_BACKLOG = 0.5


class Changes(NamedTuple):
    """How a plan differs from the last one.

    Attributes:
        words: For people.
        difference: Task by task; None: not compared.
    """

    words: str
    difference: PlanDiff | None = None


@task(cache_policy=NO_CACHE)
def pack_windows(
    history: History, split: Split, model: DurationModel, policy: Policy, config: UpgradeConfig
) -> RolloutPlan:
    """Pack the backlog into maintenance windows; see `plan_rollout`."""
    plan = plan_rollout(history, split, model, policy, config)
    get_run_logger().info(
        "%d tasks placed, %d refused by policy %s",
        *(len(plan.assignments), len(plan.refusals), plan.policy),
    )
    return plan


@task(cache_policy=NO_CACHE)
def pack_fleet(
    fleet: Fleet,
    model: DurationModel,
    policy: Policy,
    history: History,
    plan_s: int,
    config: UpgradeConfig,
    rollout: RolloutConfig,
) -> RolloutPlan:
    """Place the backlog of a fleet; see `forecast_backlog` and `plan_fleet`."""
    forecast = forecast_backlog(model, policy, history, fleet, plan_s, config)
    plan = plan_fleet(fleet, forecast, rollout, plan_s, policy.label)
    get_run_logger().info(
        "%d tasks placed by %s (%s), %d without a place",
        *(len(plan.assignments), plan.solver, plan.solver_status, len(plan.refusals)),
    )
    return plan


@task(cache_policy=NO_CACHE)
def compare_with_last_plan(plan: RolloutPlan, run: TrackedRun) -> Changes:
    """Say what differs from the last plan on record, and keep the moved tasks with the run."""
    try:
        with tempfile.TemporaryDirectory(prefix="loom-plan-") as folder:
            found = fetch_artifact("plan-fleet", "plan/plan.parquet", Path(folder))
            frame = pd.read_parquet(found.path)
    except NoSuchArtifactError:
        return Changes("there is none")
    except ServiceError as error:
        # The plan is whole without it.
        get_run_logger().warning("not compared with the last plan: %s", error)
        return Changes("not compared, the tracking server does not answer")
    keys = ["task", "host"]
    shared = len(frame[keys].merge(plan.frame[keys]))
    if shared < SAME_BACKLOG * len(frame):
        return Changes(f"not compared, run {found.run_name} planned other tasks")
    before = frame[frame["status"] == "assigned"]
    difference = plan_diff(replace(plan, assignments=before), plan)
    run.artifact("plan/moved.csv", difference.moved)
    run.artifact("plan/removed.csv", difference.removed)
    return Changes(f"{difference} (run {found.run_name})", difference)


@task(cache_policy=NO_CACHE)
def write_plan(plan: RolloutPlan, run: TrackedRun) -> dict[str, Path]:
    """Keep plan, calendar and refusals with the run and where a person finds them."""
    folder = get_settings().home / "plans" / run.run_id
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "plan.parquet": plan.frame,
        "plan.json": plan.to_json(),
        "plan.ics": to_ical(plan),
        # In a table for people, no wave is a blank; in the plan it is -1.
        "refusals.csv": plan.refusals.assign(
            wave=plan.refusals["wave"].astype("Int64").where(plan.refusals["wave"] >= 0)
        ),
    }
    for name, content in contents.items():
        write_file(folder / name, content)
        run.artifact(f"plan/{name}", folder / name)
    names = {"plan": "plan.parquet", "calendar": "plan.ics", "refusals": "refusals.csv"}
    return {label: folder / name for label, name in names.items()}


@task(cache_policy=NO_CACHE)
def write_fleet_report(
    plan: RolloutPlan, fleet: Fleet, rollout: RolloutConfig, changes: Changes, run: TrackedRun
) -> Path:
    """Write the HTML report and its numbers as JSON, to disk and to the tracked run.

    Returns the HTML file, beside plan and refusals; see `render_fleet_report`.
    """
    inputs = FleetReportInputs(plan, fleet, rollout, changes.words, changes.difference)
    numbers = fleet_figures(inputs)
    file = get_settings().home / "plans" / run.run_id / "report.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".json").write_text(json.dumps(numbers, allow_nan=False), encoding="utf-8")
    file.write_text(render_fleet_report(inputs, numbers), encoding="utf-8")
    run.artifact("report.html", file)
    run.artifact("report.json", file.with_suffix(".json"))
    get_run_logger().info("report: %s", file)
    return file

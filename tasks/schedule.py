"""Place work in windows."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ServiceError
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
from models.upgrades.rollout import RolloutConfig, plan_diff, plan_fleet
from models.upgrades.rollout.backlog import forecast_backlog
from tasks.track import TrackedRun
from tasks.track.artifacts import NoSuchArtifactError, fetch_artifact


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
def compare_with_last_plan(plan: RolloutPlan, run: TrackedRun) -> str:
    """Say what differs from the last plan on record, and keep the moved tasks with the run."""
    try:
        with tempfile.TemporaryDirectory(prefix="loom-plan-") as folder:
            found = fetch_artifact("plan-fleet", "plan/plan.parquet", Path(folder))
            frame = pd.read_parquet(found.path)
    except NoSuchArtifactError:
        return "there is none"
    except ServiceError as error:
        # The plan is whole without it.
        get_run_logger().warning("not compared with the last plan: %s", error)
        return "not compared, the tracking server does not answer"
    before = frame[frame["status"] == "assigned"]
    difference = plan_diff(replace(plan, assignments=before), plan)
    run.artifact("plan/moved.csv", difference.moved)
    run.artifact("plan/removed.csv", difference.removed)
    return f"{difference} (run {found.run_name})"

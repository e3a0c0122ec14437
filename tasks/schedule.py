"""Place work in windows."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.upgrades import (
    DurationModel,
    History,
    Policy,
    RolloutPlan,
    Split,
    UpgradeConfig,
    plan_rollout,
)


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

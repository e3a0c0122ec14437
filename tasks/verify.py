"""Check results against rules that were written apart from the code under check."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ProjectError
from models.upgrades import (
    History,
    RolloutPlan,
    Split,
    UpgradeConfig,
    Violation,
    check_plan,
)
from models.upgrades.fleet import Fleet
from models.upgrades.rollout import RolloutConfig
from models.upgrades.validate.fleet_plan import check_fleet_plan


class PlanViolationError(ProjectError):
    """A plan breaks a rule: our own fault, so the plan is not handed on."""


@task(cache_policy=NO_CACHE)
def validate_plan(
    plan: RolloutPlan, history: History, split: Split, config: UpgradeConfig
) -> RolloutPlan:
    """Return the plan if the independent checker finds nothing; see `check_plan`.

    Raises:
        PlanViolationError: The plan breaks a rule.
    """
    return _accepted(plan, check_plan(plan, history, split, config))


@task(cache_policy=NO_CACHE)
def validate_fleet_plan(plan: RolloutPlan, fleet: Fleet, rollout: RolloutConfig) -> RolloutPlan:
    """Return the plan of a fleet if the independent checker finds nothing.

    Raises:
        PlanViolationError: The plan breaks a rule.
    """
    return _accepted(plan, check_fleet_plan(plan, fleet, rollout))


def _accepted(plan: RolloutPlan, violations: Sequence[Violation]) -> RolloutPlan:
    if violations:
        first = violations[0]
        raise PlanViolationError(
            f"the plan breaks {len(violations)} rules, first: {first.rule} by tasks "
            f"{', '.join(first.tasks[:5])} ({first.detail}); the plan is not handed on, "
            "please report this"
        )
    get_run_logger().info("plan checked: no rule broken")
    return plan

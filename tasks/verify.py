"""Check results against rules that were written apart from the code under check."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.errors import ProjectError
from models.upgrades import History, RolloutPlan, Split, UpgradeConfig, check_plan


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
    violations = check_plan(plan, history, split, config)
    if violations:
        first = violations[0]
        raise PlanViolationError(
            f"the plan breaks {len(violations)} rules, first: {first.rule} by tasks "
            f"{', '.join(first.tasks[:5])} ({first.detail}); the plan is not handed on, "
            "please report this"
        )
    get_run_logger().info("plan checked: no rule broken")
    return plan

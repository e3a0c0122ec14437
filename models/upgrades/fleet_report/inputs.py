"""What a report about a fleet's plan is made from."""

from __future__ import annotations

from dataclasses import dataclass

from models.upgrades.fleet import Fleet
from models.upgrades.plan import RolloutPlan
from models.upgrades.rollout import PlanDiff, RolloutConfig


@dataclass(frozen=True)
class FleetReportInputs:
    """A plan of a fleet and what it is compared with.

    Attributes:
        plan: The plan.
        fleet: Its fleet.
        config: Horizon, waves, soak.
        changes: How the plan differs from the last one, in words.
        difference: The same task by task; None: not compared.
    """

    plan: RolloutPlan
    fleet: Fleet
    config: RolloutConfig
    changes: str
    difference: PlanDiff | None = None

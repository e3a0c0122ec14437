"""What defines a plan of a fleet from its past on: models, selection, rollout."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.upgrades.config import UpgradeConfig
from models.upgrades.rollout.config import RolloutConfig

# What both configs have; the rollout follows the outer one unless it says otherwise.
_SHARED = ("costs", "horizon_days", "seed")


class FleetPlanConfig(UpgradeConfig):
    """What defines a plan of a fleet from its past on."""

    fleet: Path | None = None
    """Folder of the fleet's tables; None: the bundled example. `data` replaces its events."""
    plan_s: int | None = Field(None, ge=0)
    """When the plan is made, whole seconds of the local clock since 1970; None: when the past
    ends. Nothing starts earlier."""
    rollout: RolloutConfig = RolloutConfig()
    """Waves, pins, excludes and solver; costs, horizon and seed unless set here as above."""

    def for_rollout(self) -> RolloutConfig:
        """Return the rollout's config with everything that it shares with this one."""
        shared = {
            name: getattr(self, name)
            for name in _SHARED
            if name not in self.rollout.model_fields_set
        }
        return self.rollout.model_copy(update=shared)

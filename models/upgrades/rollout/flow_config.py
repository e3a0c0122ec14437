"""What defines a plan of a fleet from its past on: models, selection, rollout."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from models.config import InstantS
from models.upgrades.config import UpgradeConfig
from models.upgrades.rollout.config import RolloutConfig

# What both configs have: one value, wherever it is set.
_SHARED = ("costs", "horizon_days", "seed")


class FleetPlanConfig(UpgradeConfig):
    """What defines a plan of a fleet from its past on."""

    horizon_days: int = Field(7, ge=1, le=366)
    """Windows of each domain that one plan spans, in days."""
    fleet: Path | None = None
    """Folder of the fleet's tables; None: the bundled example. `data` replaces its events."""
    plan_s: InstantS | None = Field(None, ge=0)
    """When the plan is made, a time like 2026-05-01 14:30:00 or whole seconds since 1970, by the
    local clock; None: when the past ends. Nothing starts earlier."""
    rollout: RolloutConfig = RolloutConfig()
    """Waves, pins, excludes and solver; costs, horizon_days and seed are those above: set
    them in either place."""

    @model_validator(mode="after")
    def _shares_one_value(self) -> Self:
        """Give both configs the value that either sets, so that what is printed is what is used."""
        rollout = self.rollout
        taken = {}
        for name in _SHARED:
            mine, theirs = getattr(self, name), getattr(rollout, name)
            if name not in rollout.model_fields_set:
                taken[name] = mine
            elif name not in self.model_fields_set:
                self.__dict__[name] = theirs
            elif mine != theirs:
                raise ValueError(
                    f"{name} is {_plain(mine)} and rollout.{name} is {_plain(theirs)}, which mean "
                    "the same thing; set one of them"
                )
        # Past the frozen surface: nobody has seen this object yet.
        self.__dict__["rollout"] = rollout.model_copy(update=taken)
        return self

    def for_rollout(self) -> RolloutConfig:
        """Return the rollout's config, with everything that it shares with this one."""
        return self.rollout.model_copy(update={name: getattr(self, name) for name in _SHARED})


def _plain(value: object) -> object:
    return value.model_dump() if hasattr(value, "model_dump") else value

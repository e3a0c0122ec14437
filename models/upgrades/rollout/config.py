"""What defines a plan of a fleet: same config, fleet and forecast, same plan."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Config, Texts
from models.upgrades.config import CostModel


class RolloutConfig(Config):
    """What defines a plan of a fleet: same config, fleet and forecast, same plan."""

    horizon_days: int = Field(7, ge=1, le=366)
    """Windows of each domain that one plan spans, in days."""
    exclude: Texts = ()
    """Hosts that are left alone, as globs such as `db-*`."""
    pin: Path | None = None
    """CSV of task and window_open_s: tasks that must go to the window that opens then."""
    canary_hosts: int = Field(5, ge=1)
    """Hosts of the first wave of a release."""
    wave_shares: tuple[float, ...] = (0.01, 0.1, 0.5, 1.0)
    """Share of a release's hosts reached at the end of each wave after the canaries, rising."""
    soak_s: int = Field(43_200, ge=0)
    """Time between the end of a wave and the start of the next, in seconds."""
    wave_quorum: float = Field(0.7, gt=0, le=1)
    """Share of a wave that must have ended or have a place before the next wave may start."""
    gate_failure_share: float = Field(0.1, ge=0, lt=1)
    """A release whose past failures exceed this share is stopped."""
    gate_min_ended: int = Field(5, ge=1)
    """Ended upgrades of a release before its gate judges."""
    costs: CostModel = CostModel()
    """What outcomes are worth; the value of a task multiplies `completed_value`."""
    solver: Literal["auto", "greedy", "classes", "repair"] = "auto"
    """Who places the tasks: greedy; classes, which also counts like tasks per window and keeps
    the better plan; repair, which improves that of classes; auto: classes where deadlines crowd
    the horizon, repaired unless the fleet is large."""
    solver_budget_s: float = Field(5.0, gt=0, le=10_000)
    """Deterministic time that repair may spend; one is about 3 s of processor time."""
    scenarios: int = Field(200, ge=0, le=10_000)
    """Joint draws of all durations that measure how likely caps are breached; 0: not measured."""
    shared_variance: tuple[float, float, float] = (0.1, 0.1, 0.1)
    """Share of the variance that all tasks, those of a release and those of a domain and night
    have in common in a scenario; the rest is each task's own."""
    cap_breach_eps: float | None = Field(None, gt=0, lt=1)
    """Most likely breach of a service's cap in one window that a plan may have: it is made again
    under lower caps where it has more, and what stays above is marked; None: it is
    only measured, and marked above 0.1."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of the choice of canaries."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        shares = self.wave_shares
        if not shares or shares[-1] != 1 or any(low >= high for low, high in pairwise(shares)):
            raise ValueError(f"wave_shares must rise strictly to 1, got {shares}; append 1.0")
        if shares[0] <= 0:
            raise ValueError(f"wave_shares must be above 0, got {shares}")
        common = self.shared_variance
        if min(common) < 0 or sum(common) > 1:
            raise ValueError(f"shared_variance must be shares of 1 in sum at most, got {common}")
        if self.cap_breach_eps is not None and not self.scenarios:
            raise ValueError("cap_breach_eps needs scenarios; set scenarios above 0")
        return self

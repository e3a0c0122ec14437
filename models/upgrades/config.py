"""What defines an upgrade plan: same config and same data, same plan."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Config

DAY_S = 86_400

ForecasterName = Literal[
    "auto",
    "global-p95",
    "type-p95",
    "type-p50",
    "body-p95",
    "type-quantile",
    "xgb-squared-error",
    "xgb-quantile",
]
DispatchName = Literal["auto", "calendar", "online"]


class CostModel(Config):
    """What an outcome is worth, in units of one completed upgrade."""

    completed_value: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)
    """Value of one upgrade that ends inside its window."""
    cancel_cost: float = Field(3.0, gt=0, le=1e6, allow_inf_nan=False)
    """Cost of one upgrade that was started and rolled back at the end of its window."""
    idle_cost_per_lane_h: float = Field(0.05, ge=0, le=1e6, allow_inf_nan=False)
    """Cost of one hour in which a lane of an open window does nothing."""


class TreeConfig(Config):
    """Gradient-boosted trees on the logarithm of the duration."""

    n_trees: int = Field(120, ge=1)
    """Boosting rounds."""
    depth: int = Field(4, ge=1, le=16)
    """Greatest depth of one tree."""
    learning_rate: float = Field(0.08, gt=0, le=1)
    """Shrinkage of each tree."""
    min_child_weight: float = Field(5.0, ge=0)
    """Least number of upgrades in a leaf."""


class UpgradeConfig(Config):
    """What defines an upgrade plan: same config and same data, same plan."""

    data: Path | None = None
    """History to plan from: Parquet or CSV of the LANL schema; None: the bundled file."""
    window_s: int = Field(28_800, gt=0, le=DAY_S)
    """Length of the daily maintenance window of a domain, in seconds."""
    window_start_s: int = Field(0, ge=0, lt=DAY_S)
    """Opening of the window after local midnight, in seconds."""
    horizon_days: int = Field(7, ge=1)
    """Windows that one rollout plan spans, in days."""
    load: float = Field(1.3, gt=0, allow_inf_nan=False)
    """Past demand divided by the capacity of the lanes; above 1 not everything fits."""
    max_tries: int = Field(3, ge=1)
    """Starts that one task gets before it goes to the human queue."""
    service_cap: float = Field(0.25, gt=0, le=1)
    """Share of a service's hosts in one domain that may be down at one time."""
    levels: tuple[float, ...] = (
        *(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98),
    )
    """Quantile levels that a forecast is made of, rising, each in (0, 1)."""
    fit_share: float = Field(0.55, gt=0, lt=1)
    """Share of the events, by time, that the forecasters are fitted on."""
    calibrate_share: float = Field(0.08, gt=0, lt=1)
    """Share of the events after them that the margins are first measured on."""
    select_share: float = Field(0.07, gt=0, lt=1)
    """Share of the events after those that policies compete on; the rest is the test part."""
    forecaster: ForecasterName = "auto"
    """The forecaster to plan with, or auto: the cheapest in simulation on the select part."""
    dispatch: DispatchName = "auto"
    """Keep planned starts (calendar), start what fits when a lane frees (online), or auto."""
    policy_levels: tuple[float, ...] = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    """Admission levels that compete for the calibrated forecaster, rising, each in (0, 1)."""
    tie_share: float = Field(0.01, ge=0, lt=1)
    """Cost differences below this share of a task's value are ties; the simpler policy wins."""
    conformal_window: int = Field(1_000, ge=50)
    """Latest ended upgrades that a rolling conformal margin is measured on."""
    conformal_type_min: int = Field(200, ge=20)
    """Ended upgrades a type needs in that window before it gets margins of its own."""
    costs: CostModel = CostModel()
    """What outcomes are worth; selection minimises this cost in simulation."""
    trees: TreeConfig = TreeConfig()
    """Size of the boosted trees."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything random."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name, levels in (("levels", self.levels), ("policy_levels", self.policy_levels)):
            if not levels or any(not 0 < level < 1 for level in levels):
                raise ValueError(f"{name} must be one or more numbers in (0, 1), got {levels}")
            if any(low >= high for low, high in pairwise(levels)):
                raise ValueError(f"{name} must rise strictly, got {levels}; sort them")
        if len(self.levels) < 2:
            raise ValueError(f"levels needs at least two quantiles, got {self.levels}")
        total = self.fit_share + self.calibrate_share + self.select_share
        if total >= 1:
            raise ValueError(
                f"fit_share + calibrate_share + select_share is {total:.2f} and leaves nothing "
                "to test on; lower one of them so that the sum is below 1"
            )
        if self.window_start_s + self.window_s > 2 * DAY_S:
            raise ValueError("the window must close within a day of its opening day")
        return self

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
    "type-p50",
    "type-p50x2",
    "type-p90",
    "type-p95",
    "type-max",
    "type-ewma",
    "type-survival",
    "body-p95",
    "type-quantile",
    "xgb-squared-error",
    "xgb-aft",
    "xgb-quantile",
    "xgb-hurdle",
]
MarginName = Literal["none", "split", "rolling", "by-type", "adaptive"]
DispatchName = Literal["auto", "calendar", "backfill", "online", "shortest"]


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
    min_child_weight: float = Field(20.0, ge=0)
    """Least number of upgrades in a leaf."""
    row_share: float = Field(0.7, gt=0, le=1)
    """Share of the upgrades that each tree is grown on."""
    feature_share: float = Field(0.5, gt=0, le=1)
    """Share of the features that each tree may use."""


class UpgradeConfig(Config):
    """What defines an upgrade plan: same config and same data, same plan."""

    data: Path | None = None
    """History to plan from: Parquet or CSV of a known schema; None: the bundled LANL file."""
    mapping: Path | None = None
    """YAML file that says what the columns of `data` mean, for a history of your own."""
    registry_name: str | None = Field(None, pattern=r"^[\w.-]+$")
    """Registered model of this history's forecasters; None: named after the file of `data`."""
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
    simulation_caps: bool = False
    """Whether simulated starts keep that cap; how far it is exceeded is measured always."""
    rollback_s: int = Field(0, ge=0, lt=DAY_S)
    """Time before a window closes at which unfinished upgrades are rolled back, in seconds."""
    rollback_spread: float = Field(0.0, ge=0, le=2)
    """Spread of real rollback times around `rollback_s`, standard deviation of their log."""
    levels: tuple[float, ...] = (
        *(0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98),
    )
    """Quantile levels that a forecast is made of, rising, each in (0, 1)."""
    fit_share: float = Field(0.45, gt=0, lt=1)
    """Share of the events, by time, that the forecasters are fitted on."""
    calibrate_share: float = Field(0.06, gt=0, lt=1)
    """Share of the events after them that the margins are first measured on."""
    select_share: float = Field(0.19, gt=0, lt=1)
    """Share of the events after those that policies compete on; the rest is the test part."""
    forecaster: ForecasterName = "auto"
    """The forecaster to plan with, or auto: the cheapest in simulation on the select part."""
    dispatch: DispatchName = "auto"
    """Keep planned starts (calendar), fill the holes between them too (backfill), start what
    fits when a lane frees, first come (online) or shortest expected (shortest), or auto."""
    policy_levels: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975)
    """Admission levels that compete for the calibrated forecaster, rising, each in (0, 1)."""
    tie_errors: float = Field(1.0, ge=0, le=10)
    """Cost differences up to this many standard errors are ties; the simpler policy wins."""
    tie_share: float = Field(0.01, ge=0, lt=1)
    """Cost differences above this share of the value of all tasks are never ties."""
    conformal_window: int = Field(1_000, ge=50)
    """Latest ended upgrades that a rolling conformal margin is measured on."""
    is_refitted: bool = True
    """Whether forecasters are fitted again on all that ended before the test part."""
    margins: MarginName = "adaptive"
    """Conformal margins: none, measured once (split), on the latest tasks (rolling), on the
    latest of each type (by-type), or by-type with levels that adapt (adaptive)."""
    conformal_type_window: int = Field(1_000, ge=50)
    """Latest ended upgrades of a type that its own margins are measured on."""
    conformal_type_min: int = Field(50, ge=20)
    """Ended upgrades a type needs before it gets margins of its own."""
    adaptive_step: float = Field(0.002, gt=0, le=0.1)
    """Change of an adaptive level for each task that outran its margin or did not."""
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
        if self.rollback_s >= self.window_s:
            raise ValueError(
                f"rollback_s is {self.rollback_s} and leaves nothing of the window of "
                f"{self.window_s} s; lower it or lengthen window_s"
            )
        if self.window_start_s + self.window_s > 2 * DAY_S:
            raise ValueError("the window must close within a day of its opening day")
        return self

    def suited(self, window_s: int | None) -> Self:
        """Return the config with the window that a history suggests, unless one was set.

        Args:
            window_s: `History.window_s`, in seconds; None: the history suggests none.
        """
        if window_s is None or "window_s" in self.model_fields_set:
            return self
        return self.model_copy(update={"window_s": window_s})

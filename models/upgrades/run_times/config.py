"""What defines a forecast of flow runs and a proposal for their schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Config, Texts
from models.upgrades.config import TreeConfig, UpgradeConfig
from models.upgrades.run_times.empirical import RECENT_RUNS

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""Quantile levels that a forecast of runs is made of."""


class ForecastRunsConfig(Config):
    """What defines a forecast of flow runs and a proposal for their schedule."""

    data: Path | None = None
    """Runs to learn from: CSV, Parquet or JSONL; None: what the Prefect server remembers."""
    days: int = Field(90, ge=1, le=3_650)
    """How far back the server is asked, in days."""
    most: int = Field(5_000, ge=1, le=100_000)
    """Most runs that are read from the server, the latest first."""
    forecaster: Literal["auto", "type-quantile", "xgb-quantile", "xgb-aft"] = "auto"
    """The forecaster where the history suffices, or auto: the one with the least loss before
    the last 30 % of the runs."""
    least_runs: int = Field(20, ge=2, le=1_000)
    """Finished runs of a deployment below which its own few runs are counted instead."""
    level: float = Field(0.9, ge=0.5, le=0.95)
    """Share of runs that must be done within the time that the schedule reserves for them."""
    unknown_s: int = Field(1_800, ge=1, le=86_400)
    """Time reserved for a deployment without one finished run, in seconds."""
    at_once: int | None = Field(None, ge=1, le=1_000)
    """Runs of one work pool that may go on at a time, where fewer than its limit; None: its
    limit, and one where it has none, since the runs of one machine share its cores."""
    step_min: int = Field(15, ge=1, le=120)
    """Start times are moved by multiples of this, in minutes."""
    most_shift_min: int = Field(120, ge=0, le=720)
    """How far a start time may be moved either way, in minutes; 0: propose nothing."""
    after: dict[str, Texts] = Field({"monitor-upgrades/daily": ("plan-upgrades/nightly",)})
    """Deployment (`flow/name`) -> those that must have ended before it starts; a tag
    `after:flow/name` of a deployment says the same."""
    tags: Texts = ("agents", "detection", "inference", "kernels", "sharding", "upgrades")
    """Tags of our own deployments: only what carries one is moved, or written to."""
    apply: bool = False
    """Whether the proposed start times are written to the server; otherwise only reported."""
    restore: Path | None = None
    """File `before.json` of an earlier run, whose start times are written back first."""
    trees: TreeConfig = TreeConfig()
    """Size of the boosted trees."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything random."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.apply and self.restore is not None:
            raise ValueError("apply and restore exclude each other; set one of them")
        if self.apply and self.data is not None:
            raise ValueError(
                "apply writes to the server whose runs were read; leave data out, or apply"
            )
        return self

    @property
    def plan(self) -> UpgradeConfig:
        """Splits, margins and trees of the forecasters of this room.

        Levels end at 0.95, so that 19 runs support all of them, and margins look at the
        latest hundred runs of a deployment: a daily one reaches both within a season.
        """
        return UpgradeConfig(
            levels=LEVELS,
            conformal_type_min=20,
            conformal_type_window=RECENT_RUNS,
            trees=self.trees,
            seed=self.seed,
        )

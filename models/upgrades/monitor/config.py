"""What defines a look at the forecasts."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from models.config import Config
from models.upgrades.config import UpgradeConfig


class MonitorConfig(Config):
    """What defines a look at the forecasts."""

    data: Path | None = None
    """History to look at: Parquet or CSV of a known schema; None: the bundled LANL file."""
    mapping: Path | None = None
    """YAML file that says what the columns of `data` mean, for a history of your own."""
    upgrades: UpgradeConfig = UpgradeConfig()
    """Splits, windows and costs of the plan that is watched."""
    period_days: int = Field(28, ge=1)
    """Length of one period of the tables, in days."""
    judged_periods: int = Field(3, ge=1)
    """Latest periods that the verdict is about."""
    judged_level: float = Field(0.9, gt=0, lt=1)
    """Quantile level whose coverage and loss decide."""
    coverage_band: float = Field(0.02, gt=0, lt=1)
    """Distance between observed and nominal coverage that is still fine, beyond chance."""
    breach_band: float = Field(0.08, gt=0, lt=1)
    """Missing coverage at which the forecaster is no longer used, beyond chance."""
    type_breach_band: float = Field(0.15, gt=0, lt=1)
    """The same for one type of upgrade."""
    min_type_tasks: int = Field(50, ge=10)
    """Upgrades of a type in the judged periods before the type is judged alone."""
    psi_limit: float = Field(0.25, gt=0)
    """Population stability index at which a distribution counts as moved."""
    loss_ratio: float = Field(1.1, gt=1)
    """Pinball loss against the reference part from which a new fit is asked for."""
    cost_excess: float = Field(0.25, gt=0)
    """Cost per upgrade above what was promised that calls for the fallback, in units of one
    completed upgrade, beyond chance."""
    unseen_share: float = Field(0.2, gt=0, le=1)
    """Share of upgrades of a release without history from which a new fit is asked for."""
    act: bool = False
    """Whether a breach moves the alias `champion` to the fallback; otherwise only reports."""

    @property
    def plan(self) -> UpgradeConfig:
        """The config of the watched plan, with the data of this one."""
        return self.upgrades.model_copy(update={"data": self.data, "mapping": self.mapping})

"""Cost against the promise: what the policy cost where it was chosen, and what it costs now."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.upgrades.bootstrap import WEEK_S
from models.upgrades.capacity import lanes_by_domain
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics
from models.upgrades.policy import Policy
from models.upgrades.select import weekly_cost
from models.upgrades.simulate import simulate_policy
from models.upgrades.splits import Rows, Split


@dataclass(frozen=True)
class Spend:
    """What a policy did to some upgrades.

    Attributes:
        metrics: Counts and prices.
        weekly_cost: Cost of the starts of each week, without idle lanes, shape (n_weeks,).
        weekly_tasks: Upgrades that arrived in each week, shape (n_weeks,).
    """

    metrics: PolicyMetrics
    weekly_cost: Floats
    weekly_tasks: Floats

    @property
    def per_task(self) -> float:
        """Cost per upgrade, without idle lanes."""
        return float(self.weekly_cost.sum() / max(self.weekly_tasks.sum(), 1.0))

    @property
    def standard_error(self) -> float:
        """Standard error of `per_task`; weeks are the independent draws (ratio estimator)."""
        n = len(self.weekly_cost)
        if n < 2 or not self.weekly_tasks.sum():
            return 0.0
        residuals = self.weekly_cost - self.per_task * self.weekly_tasks
        return float(residuals.std(ddof=1) * np.sqrt(n) / self.weekly_tasks.sum())


def spend_of(
    policy: Policy,
    model: DurationModel,
    history: History,
    features: FeatureTable,
    rows: Rows,
    split: Split,
    config: UpgradeConfig,
) -> Spend:
    """Simulate the policy on some rows, with the lanes that its selection had."""
    lanes = lanes_by_domain(history, split.select_from_s, config)
    forecast = in_time(model, features.take(rows), config.window_s)
    result = simulate_policy(policy, forecast, history, rows, lanes, config)
    start_s = history.seconds("start_s")[rows]
    from_s, until_s = int(start_s.min()), int(start_s.max())
    n_weeks = (until_s - from_s) // WEEK_S + 1
    weeks = np.bincount((start_s - from_s) // WEEK_S, minlength=n_weeks).astype(float)
    weekly = weekly_cost(result.attempts, from_s, n_weeks, config)
    return Spend(result.metrics, weekly, weeks)

"""Accelerated failure time by boosted trees: aborted tasks as intervals, one residual shape."""

from __future__ import annotations

import numpy as np

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.forecast.boosting import boost, dmatrix, seen_codes, tree_contributions
from models.upgrades.forecast.censoring import survival_quantiles
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid, tail_scales
from models.upgrades.forecast.quantile_trees import BoostedTrees

# Spread of log seconds within a type of the LANL fit part; the loss needs one constant.
SCALE = 1.0


class SurvivalTrees(BoostedTrees):
    """Trees on the location of log duration under right-censoring (`survival:aft`).

    The loss knows one scale for all tasks; the quantiles come from the residuals by
    Kaplan-Meier instead, so only the location rests on the assumed shape.

    Source: Barnwal, Cho & Hocking (2020), "Survival Regression with Accelerated Failure
    Time Model in XGBoost".
    """

    name = "xgb-aft"
    uses_censored = True

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._seen = seen_codes(X)
        # The loss starts at one second and its gradient is bounded: start in the middle.
        self._middle = float(survival_quantiles(log_s, ~is_censored, np.array([0.5]))[0])
        duration_s = np.exp(log_s - self._middle)
        data = dmatrix(
            X, self._seen, bounds=(duration_s, np.where(is_censored, np.inf, duration_s))
        )
        objective = {
            "objective": "survival:aft",
            "aft_loss_distribution": "logistic",
            "aft_loss_distribution_scale": SCALE,
            "eval_metric": "aft-nloglik",
        }
        self._booster = boost(data, objective, self.trees, self.seed)
        residuals = log_s - self._location(X)
        self._residuals = survival_quantiles(residuals, ~is_censored, self.levels)
        ended = residuals[~is_censored]
        self._tails = tail_scales(ended, self._residuals[:1], self._residuals[-1:])

    def _location(self, X: FeatureTable) -> Floats:
        margin = self._booster.predict(dmatrix(X, self._seen), output_margin=True)
        return np.asarray(margin, dtype=float) + self._middle

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the location of each task plus the common residual quantiles."""
        log_s = self._location(X)[:, None] + self._residuals[None, :]
        return QuantileGrid(self.levels, log_s, *self._tails)

    def contributions(self, X: FeatureTable, level: float) -> Contributions:
        """What each feature adds to the location; the residual quantile is in the bias."""
        place = self._nearest(level)
        own = tree_contributions(self._booster, X, self._seen, 1)[:, 0]
        bias = own[:, -1] + self._middle + self._residuals[place]
        return Contributions(float(self.levels[place]), own[:, :-1], bias)

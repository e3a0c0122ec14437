"""Boosted trees on log duration: all quantiles at once, and squared error for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.upgrades.config import TreeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.boosting import (
    boost,
    dmatrix,
    predict,
    seen_codes,
    tree_contributions,
)
from models.upgrades.forecast.censoring import censoring_weights
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales


class BoostedTrees(GridForecaster):
    """What both kinds of trees are made from."""

    def __init__(self, levels: Sequence[float], trees: TreeConfig, seed: int) -> None:
        self.levels = np.asarray(levels, dtype=float)
        self.trees = trees
        self.seed = seed

    def _nearest(self, level: float) -> int:
        return int(np.argmin(np.abs(self.levels - level)))


class QuantileTrees(BoostedTrees):
    """Gradient-boosted trees with the pinball loss at every level of the grid.

    Aborted tasks lend their weight to those that ran longer (`censoring_weights`).
    """

    name = "xgb-quantile"
    uses_censored = True

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        weight = censoring_weights(log_s, is_censored) if is_censored.any() else None
        if weight is not None:
            done = np.flatnonzero(~is_censored)
            X, log_s, weight = X.take(done), log_s[done], weight[done]
        self._seen = seen_codes(X)
        objective = {"objective": "reg:quantileerror", "quantile_alpha": self.levels}
        data = dmatrix(X, self._seen, label=log_s, weight=weight)
        self._booster = boost(data, objective, self.trees, self.seed)
        fitted = self._log_quantiles(X)
        self._tails = tail_scales(log_s, fitted[:, 0], fitted[:, -1])

    def _log_quantiles(self, X: FeatureTable) -> Floats:
        return rearranged(predict(self._booster, X, self._seen, len(self.levels)))

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the rearranged quantiles of each task."""
        return QuantileGrid(self.levels, self._log_quantiles(X), *self._tails)

    def contributions(self, X: FeatureTable, level: float) -> Contributions:
        """What each feature adds to the rearranged log quantile nearest to `level`."""
        place = self._nearest(level)
        parts = tree_contributions(self._booster, X, self._seen, len(self.levels))
        # Where raw quantiles cross, the one that rearrangement puts here was another's.
        raw = predict(self._booster, X, self._seen, len(self.levels))
        own = parts[np.arange(len(X)), np.argsort(raw, axis=1, kind="stable")[:, place]]
        return Contributions(float(self.levels[place]), own[:, :-1], own[:, -1])


class SquaredErrorTrees(BoostedTrees):
    """Gradient-boosted trees on the mean of log duration, with one residual shape for all.

    The lowest-error predictor of the ablation: accurate on average, with no idea of which
    tasks are uncertain.
    """

    name = "xgb-squared-error"

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._seen = seen_codes(X)
        objective = {"objective": "reg:squarederror"}
        self._booster = boost(dmatrix(X, self._seen, label=log_s), objective, self.trees, self.seed)
        residuals = log_s - predict(self._booster, X, self._seen, 1)[:, 0]
        self._residuals: Floats = np.asarray(np.quantile(residuals, self.levels), dtype=float)
        self._tails = tail_scales(residuals, self._residuals[:1], self._residuals[-1:])

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the mean of each task plus the common residual quantiles."""
        mean = predict(self._booster, X, self._seen, 1)
        return QuantileGrid(self.levels, mean + self._residuals[None, :], *self._tails)

    def contributions(self, X: FeatureTable, level: float) -> Contributions:
        """What each feature adds to the mean; the residual quantile is in the bias."""
        place = self._nearest(level)
        own = tree_contributions(self._booster, X, self._seen, 1)[:, 0]
        bias = own[:, -1] + self._residuals[place]
        return Contributions(float(self.levels[place]), own[:, :-1], bias)

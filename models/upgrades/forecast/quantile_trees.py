"""Boosted trees on log duration: all quantiles at once, and squared error for comparison.

One thread, always: xgboost's histograms are then bit-equal on any machine with any number
of workers, and two OpenMP threads on a busy machine were seven times slower than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.upgrades.config import TreeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales


class _BoostedTrees(GridForecaster):
    """What both kinds of trees are made from."""

    def __init__(self, levels: Sequence[float], trees: TreeConfig, seed: int) -> None:
        self.levels = np.asarray(levels, dtype=float)
        self.trees = trees
        self.seed = seed


class QuantileTrees(_BoostedTrees):
    """Gradient-boosted trees with the pinball loss at every level of the grid."""

    name = "xgb-quantile"

    def _learn(self, X: FeatureTable, log_s: Floats) -> None:
        self._seen = _seen_codes(X)
        objective = {"objective": "reg:quantileerror", "quantile_alpha": self.levels}
        self._booster = _boost(X, self._seen, log_s, objective, self.trees, self.seed)
        fitted = self._log_quantiles(X)
        self._tails = tail_scales(log_s, fitted[:, 0], fitted[:, -1])

    def _log_quantiles(self, X: FeatureTable) -> Floats:
        return rearranged(_predict(self._booster, X, self._seen, len(self.levels)))

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the rearranged quantiles of each task."""
        return QuantileGrid(self.levels, self._log_quantiles(X), *self._tails)


class SquaredErrorTrees(_BoostedTrees):
    """Gradient-boosted trees on the mean of log duration, with one residual shape for all.

    The lowest-error predictor of the ablation: accurate on average, with no idea of which
    tasks are uncertain.
    """

    name = "xgb-squared-error"

    def _learn(self, X: FeatureTable, log_s: Floats) -> None:
        self._seen = _seen_codes(X)
        objective = {"objective": "reg:squarederror"}
        self._booster = _boost(X, self._seen, log_s, objective, self.trees, self.seed)
        residuals = log_s - _predict(self._booster, X, self._seen, 1)[:, 0]
        self._residuals: Floats = np.asarray(np.quantile(residuals, self.levels), dtype=float)
        self._tails = tail_scales(residuals, self._residuals[:1], self._residuals[-1:])

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the mean of each task plus the common residual quantiles."""
        mean = _predict(self._booster, X, self._seen, 1)
        return QuantileGrid(self.levels, mean + self._residuals[None, :], *self._tails)


def _seen_codes(X: FeatureTable) -> dict[str, NDArray[np.int64]]:
    return {name: np.unique(X.codes(name)) for name in X.categories}


def _dmatrix(X: FeatureTable, seen: dict[str, NDArray[np.int64]], label: Floats | None) -> Any:
    import xgboost

    matrix = X.matrix.copy()
    for name, codes in seen.items():
        # A category that the fit never saw is unknown, not a new branch.
        column = X.names.index(name)
        matrix[~np.isin(X.codes(name), codes), column] = np.nan
    kinds = ["c" if name in X.categories else "q" for name in X.names]
    return xgboost.DMatrix(
        matrix,
        label=label,
        feature_names=list(X.names),
        feature_types=kinds,
        enable_categorical=True,
        nthread=1,
    )


def _boost(
    X: FeatureTable,
    seen: dict[str, NDArray[np.int64]],
    log_s: Floats,
    objective: dict[str, Any],
    trees: TreeConfig,
    seed: int,
) -> Any:
    import xgboost

    parameters = {
        **objective,
        "tree_method": "hist",
        "max_depth": trees.depth,
        "eta": trees.learning_rate,
        "min_child_weight": trees.min_child_weight,
        "nthread": 1,
        "seed": seed,
    }
    return xgboost.train(parameters, _dmatrix(X, seen, log_s), num_boost_round=trees.n_trees)


def _predict(booster: Any, X: FeatureTable, seen: dict[str, NDArray[np.int64]], n: int) -> Floats:
    predicted = booster.predict(_dmatrix(X, seen, None))
    return np.asarray(predicted, dtype=float).reshape(len(X), n)

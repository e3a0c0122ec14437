"""Kaplan-Meier per type: the quantiles of the past when some tasks were aborted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.censoring import survival_quantiles
from models.upgrades.forecast.distribution import QuantileGrid, tail_scales
from models.upgrades.forecast.heuristics import POOLING_TASKS


class TypeSurvival(GridForecaster):
    """Kaplan-Meier quantiles per type, rare types pulled towards all tasks.

    Without aborted tasks these are the plain quantiles of the type.
    """

    uses_censored = True

    def __init__(self, levels: Sequence[float], name: str) -> None:
        self.name = name
        self.levels = np.asarray(levels, dtype=float)

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        codes, ended = X.codes("type"), ~is_censored
        pooled = survival_quantiles(log_s, ended, self.levels)
        self._pooled = pooled
        self._by_type: dict[int, Floats] = {}
        for code in np.unique(codes):
            mine = codes == code
            # Only ended tasks count as evidence.
            n_ended = int(ended[mine].sum())
            weight = n_ended / (n_ended + POOLING_TASKS)
            own = survival_quantiles(log_s[mine], ended[mine], self.levels)
            self._by_type[int(code)] = weight * own + (1 - weight) * pooled
        fitted = self._log_quantiles(X)
        self._tails = tail_scales(log_s[ended], fitted[ended, 0], fitted[ended, -1])

    def _log_quantiles(self, X: FeatureTable) -> Floats:
        table = [self._by_type.get(int(code), self._pooled) for code in X.codes("type")]
        return np.asarray(table, dtype=float).reshape(len(X), len(self.levels))

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the distribution of each task's type."""
        return QuantileGrid(self.levels, self._log_quantiles(X), *self._tails)

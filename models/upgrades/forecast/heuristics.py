"""Rules without learning: quantiles of the past, of all tasks or per type."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.distribution import QuantileGrid, tail_scales

# A type counts half against all tasks when it has this many: empirical-Bayes pooling, so
# that a type of three tasks does not forecast its own maximum.
POOLING_TASKS = 20.0


class GlobalQuantiles(GridForecaster):
    """The same distribution for every task: that of the past. The trivial baseline."""

    def __init__(self, levels: Sequence[float], name: str) -> None:
        self.name = name
        self.levels = np.asarray(levels, dtype=float)

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._log_s: Floats = np.asarray(np.quantile(log_s, self.levels), dtype=float)
        self._tails = tail_scales(log_s, self._log_s[:1], self._log_s[-1:])

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the past's distribution once per task."""
        return QuantileGrid(self.levels, np.tile(self._log_s, (len(X), 1)), *self._tails)


class TypeQuantiles(GridForecaster):
    """Quantiles per type, rare types pulled towards all tasks, unseen types at all tasks.

    With `is_body` the stragglers of each type are taken out first: the P95 of the body
    does not reserve a whole window because one task in fifty ran for days. With a `factor`
    every duration is multiplied by it: the safety factor of batch schedulers. With
    `is_max` the highest level is the longest task ever seen of the type.
    """

    def __init__(
        self,
        levels: Sequence[float],
        name: str,
        *,
        is_body: bool = False,
        is_max: bool = False,
        factor: float = 1.0,
    ) -> None:
        self.name = name
        self.levels = np.asarray(levels, dtype=float)
        self.is_body = is_body
        self.is_max = is_max
        self.factor = factor

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        codes = X.codes("type")
        if self.is_body:
            keep = ~is_straggler(codes, log_s)
            codes, log_s = codes[keep], log_s[keep]
        log_s = log_s + np.log(self.factor)
        pooled = np.quantile(log_s, self.levels)
        self._pooled = pooled
        self._by_type: dict[int, Floats] = {}
        for code in np.unique(codes):
            of_type = log_s[codes == code]
            weight = len(of_type) / (len(of_type) + POOLING_TASKS)
            own = np.quantile(of_type, self.levels)
            self._by_type[int(code)] = weight * own + (1 - weight) * pooled
            if self.is_max:
                self._by_type[int(code)][-1] = of_type.max()
        fitted = self._log_quantiles(codes)
        self._tails = tail_scales(log_s, fitted[:, 0], fitted[:, -1])

    def _log_quantiles(self, codes: NDArray[np.int64]) -> Floats:
        table = [self._by_type.get(int(code), self._pooled) for code in codes]
        return np.asarray(table, dtype=float).reshape(len(codes), len(self.levels))

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the distribution of each task's type."""
        return QuantileGrid(self.levels, self._log_quantiles(X.codes("type")), *self._tails)


class TypeTrend(GridForecaster):
    """The type's exponentially weighted mean of log duration plus residual quantiles.

    The mean moves with every task that ends (as-of feature `type-ewma`), the spread is that
    of the fitted tasks: "mean plus k sigma" of operators, without the normal assumption. A
    type that never ended a task has the mean of all.
    """

    def __init__(self, levels: Sequence[float], name: str) -> None:
        self.name = name
        self.levels = np.asarray(levels, dtype=float)

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._mean = float(log_s.mean())
        residuals = log_s - self._means(X)
        self._residuals: Floats = np.asarray(np.quantile(residuals, self.levels), dtype=float)
        self._tails = tail_scales(residuals, self._residuals[:1], self._residuals[-1:])

    def _means(self, X: FeatureTable) -> Floats:
        ewma = X.matrix[:, X.names.index("type-ewma")].astype(float)
        return np.where(np.isfinite(ewma), ewma, self._mean)

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the residual quantiles around each type's latest mean."""
        log_s = self._means(X)[:, None] + self._residuals
        return QuantileGrid(self.levels, log_s, *self._tails)


def is_straggler(codes: NDArray[np.int64], log_s: Floats) -> NDArray[np.bool_]:
    """Mark tasks above the upper fence of their type, in log seconds.

    The fence is the third quartile plus 1.5 interquartile ranges (Tukey 1977). Types with
    fewer than `POOLING_TASKS` tasks use the fence of all tasks.

    Args:
        codes: Type codes, shape (n_tasks,).
        log_s: Log seconds, shape (n_tasks,).
    """
    fences = straggler_fences(codes, log_s)
    pooled = fences[None]
    return log_s > np.array([fences.get(int(code), pooled) for code in codes])


def straggler_fences(codes: NDArray[np.int64], log_s: Floats) -> dict[int | None, float]:
    """Upper fence of each type in log seconds; under None that of all tasks.

    Types with fewer than `POOLING_TASKS` tasks are not listed.
    """
    fences: dict[int | None, float] = {None: _fence(log_s)}
    for code in np.unique(codes):
        rows = codes == code
        if rows.sum() >= POOLING_TASKS:
            fences[int(code)] = _fence(log_s[rows])
    return fences


def _fence(log_s: Floats) -> float:
    low, high = np.quantile(log_s, [0.25, 0.75])
    return float(high + 1.5 * (high - low))

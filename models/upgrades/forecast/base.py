"""The seam between forecasting and scheduling: a conditional duration distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, NotEnoughDataError
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.distribution import QuantileGrid

Floats = NDArray[np.float64]


class DurationModel(Protocol):
    """A forecaster of durations; the scheduler sees nothing else, so any peer plugs in."""

    digest: str
    """Digest of everything that it was fitted from; empty if unknown."""

    @property
    def name(self) -> str:
        """Name of the forecaster, as in the config."""

    def fit(self, X: FeatureTable, duration_s: Floats) -> Self:
        """Learn from ended tasks; durations in seconds, shape (n_tasks,). Returns itself."""

    def quantiles(self, X: FeatureTable, taus: Sequence[float]) -> Floats:
        """Seconds by which tasks end with probability tau, shape (n_tasks, n_taus)."""

    def quantile(self, X: FeatureTable, tau: float) -> Floats:
        """Seconds by which each task ends with probability `tau`, shape (n_tasks,)."""

    def cdfs(self, X: FeatureTable, times_s: Sequence[float]) -> Floats:
        """Probability of ending within each time in seconds, shape (n_tasks, n_times)."""

    def cdf(self, X: FeatureTable, t_s: Floats | float) -> Floats:
        """Probability that each task ends within `t_s` seconds, shape (n_tasks,)."""

    def sample(self, X: FeatureTable, n: int, seed: int) -> Floats:
        """Draw `n` durations per task in seconds, shape (n_tasks, n)."""


class GridForecaster:
    """A forecaster that is a grid of quantiles per task; subclasses say which grid.

    Subclasses set `name` and implement `_learn` and `grid`; this class derives the rest
    of the `DurationModel` protocol from the grid.
    """

    name: str
    digest: str = ""

    def fit(self, X: FeatureTable, duration_s: Floats) -> Self:
        """Learn from ended tasks; durations in seconds, shape (n_tasks,).

        Raises:
            NotEnoughDataError: No task to learn from.
            DataError: A duration is not a positive finite number of seconds.
        """
        duration_s = np.asarray(duration_s, dtype=float)
        if len(duration_s) == 0:
            raise NotEnoughDataError(f"{self.name} got no ended task to fit on; add history")
        bad = ~(np.isfinite(duration_s) & (duration_s > 0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{self.name} cannot fit: row {row} has the duration {duration_s[row]} s; "
                "every fitted task needs a positive finite duration, drop or correct the row"
            )
        self._learn(X, np.log(duration_s))
        return self

    def _learn(self, X: FeatureTable, log_s: Floats) -> None:
        raise NotImplementedError

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the forecast distributions of the tasks."""
        raise NotImplementedError

    def quantiles(self, X: FeatureTable, taus: Sequence[float]) -> Floats:
        """Seconds by which tasks end with probability tau, shape (n_tasks, n_taus)."""
        grid = self.grid(X)
        return np.column_stack([grid.quantile(tau) for tau in taus])

    def quantile(self, X: FeatureTable, tau: float) -> Floats:
        """Seconds by which each task ends with probability `tau`, shape (n_tasks,)."""
        return self.grid(X).quantile(tau)

    def cdfs(self, X: FeatureTable, times_s: Sequence[float]) -> Floats:
        """Probability of ending within each time in seconds, shape (n_tasks, n_times)."""
        grid = self.grid(X)
        return np.column_stack([grid.cdf(time_s) for time_s in times_s])

    def cdf(self, X: FeatureTable, t_s: Floats | float) -> Floats:
        """Probability that each task ends within `t_s` seconds, shape (n_tasks,)."""
        return self.grid(X).cdf(t_s)

    def sample(self, X: FeatureTable, n: int, seed: int) -> Floats:
        """Draw `n` durations per task in seconds, shape (n_tasks, n)."""
        return self.grid(X).sample(n, seed)

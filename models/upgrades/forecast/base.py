"""The seam between forecasting and scheduling: a conditional duration distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, NotEnoughDataError
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class DurationModel(Protocol):
    """A forecaster of durations; the scheduler sees nothing else, so any peer plugs in."""

    digest: str
    """Digest of everything that it was fitted from; empty if unknown."""

    @property
    def name(self) -> str:
        """Name of the forecaster, as in the config."""

    def fit(self, X: FeatureTable, duration_s: Floats, is_censored: Mask | None = None) -> Self:
        """Learn from ended tasks; durations in seconds, shape (n_tasks,). Returns itself.

        Where `is_censored`, the task was aborted and `duration_s` is a lower bound.
        """

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
    uses_censored: bool = False

    def fit(self, X: FeatureTable, duration_s: Floats, is_censored: Mask | None = None) -> Self:
        """Learn from ended tasks; durations in seconds, shape (n_tasks,).

        Aborted tasks (`is_censored`) are left out by forecasters that cannot use a lower
        bound (`uses_censored`); their durations are then underestimated.

        Raises:
            NotEnoughDataError: No task to learn from.
            DataError: A duration is not a positive finite number of seconds.
        """
        duration_s = np.asarray(duration_s, dtype=float)
        censored = np.zeros(len(duration_s), dtype=bool) if is_censored is None else is_censored
        bad = ~(np.isfinite(duration_s) & (duration_s > 0))
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{self.name} cannot fit: row {row} has the duration {duration_s[row]} s; "
                "every fitted task needs a positive finite duration, drop or correct the row"
            )
        if censored.all():
            raise NotEnoughDataError(
                f"{self.name} got {len(duration_s)} tasks to fit on, of which none was seen to "
                "its end; add history with completed tasks"
            )
        if not self.uses_censored:
            done = np.flatnonzero(~censored)
            X, duration_s, censored = X.take(done), duration_s[done], censored[done]
        self._learn(X, np.log(duration_s), censored)
        return self

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        raise NotImplementedError

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the forecast distributions of the tasks."""
        raise NotImplementedError

    def contributions(self, X: FeatureTable, level: float) -> Contributions | None:
        """What each feature adds to the log quantile nearest to `level`; None: no such sum."""
        return None

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

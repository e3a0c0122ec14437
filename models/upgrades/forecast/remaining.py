"""How much longer: what a forecast says of a task that has run for a while and is not done."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from models.errors import ConfigError
from models.upgrades.forecast.distribution import Floats, QuantileGrid

# The share that lasts longer cannot be less, or rounding would divide zero by zero.
LEAST_SHARE = 1e-9


@dataclass(frozen=True)
class RemainingTime:
    """Distributions of the time that running tasks still need.

    Attributes:
        forecast: Their forecasts, made when they started or before.
        elapsed_s: How long each has run, seconds, shape (n_tasks,).
    """

    forecast: QuantileGrid
    elapsed_s: Floats

    @property
    def _past(self) -> Floats:
        """Probability that each would have ended by now, P(D <= e), shape (n_tasks,)."""
        return np.minimum(self.forecast.cdf(self.elapsed_s), 1 - LEAST_SHARE)

    def cdf(self, t_s: float | Floats) -> Floats:
        """Probability of ending within `t_s` more seconds, P(D <= e + t | D > e), (n_tasks,)."""
        past = self._past
        return np.clip((self.forecast.cdf(self.elapsed_s + t_s) - past) / (1 - past), 0.0, 1.0)

    def quantile(self, tau: float) -> Floats:
        """Seconds within which each task ends with probability `tau`, shape (n_tasks,).

        Raises:
            ConfigError: `tau` is not in (0, 1).
        """
        if not 0 < tau < 1:
            raise ConfigError(f"a quantile level must lie in (0, 1), got {tau}")
        past = self._past
        level = np.minimum(past + tau * (1 - past), 1 - LEAST_SHARE / 2)
        return np.maximum(self.forecast.quantile(level[:, None])[:, 0] - self.elapsed_s, 0.0)


def remaining(forecast: QuantileGrid, elapsed_s: ArrayLike) -> RemainingTime:
    """Return the distribution of the time that tasks still need, given that none is done.

    Args:
        forecast: Their forecasts (`GridForecaster.grid`).
        elapsed_s: How long each has run, seconds, one or one per task.

    Raises:
        ConfigError: A time is negative or no number, or there is none for some task.
    """
    n_tasks = len(forecast.log_s)
    times_s = np.asarray(elapsed_s, dtype=float)
    if times_s.ndim and times_s.shape != (n_tasks,):
        raise ConfigError(
            f"remaining time needs one elapsed time or one for each of {n_tasks} tasks, got "
            f"shape {times_s.shape}; give them in the order of the forecast"
        )
    if not (np.isfinite(times_s) & (times_s >= 0)).all():
        raise ConfigError(
            f"elapsed times must be finite and at least 0 s, got {times_s[()]}; a task that has "
            "not started has run for 0 s"
        )
    return RemainingTime(forecast, np.broadcast_to(times_s, (n_tasks,)).astype(float))

"""A conditional distribution from a grid of log quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError

Floats = NDArray[np.float64]

# A tail that decays within 0.1 % of the duration: keeps the distribution proper where the
# data show no spread at all.
LEAST_TAIL = 1e-3


@dataclass(frozen=True)
class QuantileGrid:
    """Duration distributions of n tasks: log quantiles, straight lines between, tails.

    Beyond the outer levels log duration has exponential tails (a Pareto tail of the
    duration), so every probability in (0, 1) has a finite quantile.

    Attributes:
        levels: Rising quantile levels, shape (n_levels,).
        log_s: Log seconds at the levels, non-decreasing along axis 1, shape
            (n_tasks, n_levels).
        lower_tail: Mean excess below the lowest level, in log seconds; one for all tasks or
            of shape (n_tasks,).
        upper_tail: Mean excess above the highest level, likewise.
    """

    levels: Floats
    log_s: Floats
    lower_tail: float | Floats
    upper_tail: float | Floats

    def quantile(self, tau: float | Floats) -> Floats:
        """Seconds at probability `tau`: one for all tasks, or of shape (n_tasks, m).

        Returns shape (n_tasks,) for a number and (n_tasks, m) for an array.
        """
        wanted = np.asarray(tau, dtype=float)
        if not ((wanted > 0) & (wanted < 1)).all():
            raise ConfigError(f"a quantile level must lie in (0, 1), got {tau}")
        if wanted.ndim == 0:
            return self._quantiles(np.full((len(self.log_s), 1), float(wanted)))[:, 0]
        return self._quantiles(wanted)

    def _quantiles(self, tau: Floats) -> Floats:
        levels, log_s = self.levels, self.log_s
        high = np.clip(np.searchsorted(levels, tau), 1, len(levels) - 1)
        low = high - 1
        at_low = np.take_along_axis(log_s, low, axis=1)
        at_high = np.take_along_axis(log_s, high, axis=1)
        share = np.clip((tau - levels[low]) / (levels[high] - levels[low]), 0.0, 1.0)
        inside = at_low + share * (at_high - at_low)
        lower, upper = (np.reshape(tail, (-1, 1)) for tail in (self.lower_tail, self.upper_tail))
        below = lower * np.log(np.minimum(tau / levels[0], 1.0))
        above = -upper * np.log(np.minimum((1 - tau) / (1 - levels[-1]), 1.0))
        return np.asarray(np.exp(inside + below + above))

    def cdf(self, t_s: Floats | float) -> Floats:
        """Probability of ending within `t_s` seconds (one, or one per task)."""
        with np.errstate(divide="ignore"):
            x = np.broadcast_to(np.log(np.asarray(t_s, dtype=float)), len(self.log_s))
        levels, log_s = self.levels, self.log_s
        # Levels reached by x; where quantiles tie, all of them: P(D <= t) includes the atom.
        reached = (log_s <= x[:, None]).sum(axis=1)
        high = np.clip(reached, 1, len(levels) - 1)
        rows = np.arange(len(log_s))
        at_low, at_high = log_s[rows, high - 1], log_s[rows, high]
        width = np.where(at_high > at_low, at_high - at_low, 1.0)
        share = np.clip((x - at_low) / width, 0.0, 1.0)
        inside = levels[high - 1] + share * (levels[high] - levels[high - 1])
        below = levels[0] * np.exp(np.minimum((x - log_s[:, 0]) / self.lower_tail, 0.0))
        over = np.maximum((x - log_s[:, -1]) / self.upper_tail, 0.0)
        above = 1 - (1 - levels[-1]) * np.exp(-over)
        inside = np.where(reached == 0, below, inside)
        return np.asarray(np.where(reached == len(levels), above, inside))

    def sample(self, n: int, seed: int) -> Floats:
        """Draw `n` durations per task in seconds, shape (n_tasks, n)."""
        uniform = np.random.default_rng(seed).uniform(1e-9, 1 - 1e-9, (len(self.log_s), n))
        return self.quantile(uniform)


def rearranged(log_s: Floats) -> Floats:
    """Sort each row so that quantiles do not cross.

    Source: Chernozhukov, Fernández-Val & Galichon (2010), "Quantile and Probability Curves
    Without Crossing": sorting never worsens the estimate.
    """
    return np.sort(log_s, axis=1)


def tail_scales(log_s: Floats, lowest: Floats, highest: Floats) -> tuple[float, float]:
    """Mean excess of observed log durations beyond the outer quantiles, below and above.

    The maximum-likelihood scale of an exponential tail.

    Args:
        log_s: Observed log seconds, shape (n_tasks,).
        lowest: Log seconds at the lowest level, shape (n_tasks,) or (1,).
        highest: Log seconds at the highest level, shape (n_tasks,) or (1,).
    """
    below, above = lowest - log_s, log_s - highest
    lower = float(below[below > 0].mean()) if (below > 0).any() else 0.0
    upper = float(above[above > 0].mean()) if (above > 0).any() else 0.0
    return max(lower, LEAST_TAIL), max(upper, LEAST_TAIL)

"""Which number should the scheduler reserve? Start rules, and what a start is expected to take.

Costs are asymmetric (Acela v1): a task that overruns its window is rolled back, a window
kept too free merely idles. With linear costs the answer is a quantile; a rollback is a
step cost, so the start rule needs the whole conditional distribution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from models.upgrades.config import CostModel
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats

# Time left is read on this grid: a calendar's slot, and below the P10 of LANL durations.
SLOT_S = 300
# cdf(quantile(tau)) may fall short of tau by rounding.
ROUNDING = 1e-9


def break_even_probability(costs: CostModel) -> float:
    """Probability of ending in time from which a start pays while lane time is free."""
    return costs.cancel_cost / (costs.completed_value + costs.cancel_cost)


@dataclass(frozen=True)
class InTime:
    """Probability that tasks end in the time that is left.

    Attributes:
        left_s: Times left, rising to a whole window, seconds, shape (n_slots,).
        probability: P(D <= left_s), shape (n_tasks, n_slots).
    """

    left_s: Floats
    probability: Floats

    def given_not_done_after(self, elapsed_s: Floats) -> InTime:
        """Condition each task on not having ended in `elapsed_s` seconds, shape (n_tasks,).

        An aborted start is a right-censored duration: P(D <= r | D > e) is
        (F(r) - F(e)) / (1 - F(e)), and 0 for r <= e. F(e) is read at the slot at or
        before e, so what is known is never overstated.
        """
        slot = np.searchsorted(self.left_s, elapsed_s, "right") - 1
        rows = np.arange(len(self.probability))
        before = np.where(slot >= 0, self.probability[rows, np.maximum(slot, 0)], 0.0)[:, None]
        rest = np.maximum(1 - before, ROUNDING)
        later = np.clip((self.probability - before) / rest, 0.0, 1.0)
        is_past = self.left_s[None, :] <= np.asarray(elapsed_s)[:, None]
        return replace(self, probability=np.where(is_past, 0.0, later))

    def within(self, window_s: int) -> InTime:
        """Return the forecast for a shorter window, whose close must be one of the slots."""
        slots = int(np.searchsorted(self.left_s, window_s, "right"))
        return InTime(self.left_s[:slots], self.probability[:, :slots])

    def take(self, rows: slice) -> InTime:
        """Return the tasks of a slice."""
        return replace(self, probability=self.probability[rows])


def in_time(model: DurationModel, X: FeatureTable, window_s: int) -> InTime:
    """Read the forecast of each task at every slot of the window.

    Args:
        model: A fitted forecaster.
        X: Features of the tasks.
        window_s: Length of the window, the most time that can be left, in seconds.
    """
    left_s = np.append(np.arange(SLOT_S, window_s, SLOT_S, dtype=float), float(window_s))
    return InTime(left_s, model.cdfs(X, left_s.tolist()))


def least_time_for_level(forecast: InTime, level: float) -> Floats:
    """Least time left at which each task ends in time with probability `level`.

    Seconds, a slot of the window, shape (n_tasks,); infinite where a whole window is too
    short. This is the quantile at `level`, rounded up to a slot.
    """
    return _first_slot(forecast.left_s, forecast.probability >= level - ROUNDING)


def least_time_that_pays(forecast: InTime, costs: CostModel, lane_price_per_h: float) -> Floats:
    """Least time left at which starting each task pays, seconds, shape (n_tasks,).

    Starting with R left pays iff v P(D<=R) >= c P(D>R) + price E[min(D, R)], the last term
    being the expected time on the lane: stragglers pay for the lane they hold. Infinite
    for tasks that never pay.
    """
    gain = (
        costs.completed_value * forecast.probability
        - costs.cancel_cost * (1 - forecast.probability)
        - lane_price_per_h * np.cumsum(_busy_s(forecast), axis=1) / 3_600
    )
    return _first_slot(forecast.left_s, gain >= -ROUNDING)


def expected_lane_s(forecast: InTime) -> Floats:
    """Expected time on the lane when a whole window is left, seconds, shape (n_tasks,)."""
    return np.asarray(_busy_s(forecast).sum(axis=1))


def _busy_s(forecast: InTime) -> Floats:
    """Expected time on the lane in each slot, seconds, shape (n_tasks, n_slots)."""
    lasts = np.column_stack([np.ones(len(forecast.probability)), 1 - forecast.probability])
    slots_s = np.diff(forecast.left_s, prepend=0.0)
    return np.asarray((lasts[:, 1:] + lasts[:, :-1]) / 2 * slots_s)


def _first_slot(
    left_s: Floats, is_enough: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> Floats:
    return np.where(is_enough.any(axis=1), left_s[is_enough.argmax(axis=1)], np.inf)

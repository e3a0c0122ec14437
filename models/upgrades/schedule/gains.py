"""What a start is worth in expectation, from any forecast of P(D <= t)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.upgrades.config import CostModel
from models.upgrades.costs import InTime

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Gains:
    """Expected value of starting tasks, in completed upgrades of value 1.

    A start with R seconds left is worth v P(D<=R) - c P(D>R) + i E[min(D, R)]: its value if
    it completes, the cost of a rollback if not, and the idle time that it saves its lane.
    The time left counts from the planned start: tasks before it on the lane are taken to
    end within their reservations.

    Attributes:
        left_s: Times left at which the forecast is read, rising, shape (n_slots,).
        probability: P(D <= left_s) of each distinct forecast, shape (n_curves, n_slots).
        busy_h: E[min(D, left_s)] in hours, same shape.
        curve: Forecast of each task, shape (n_tasks,).
        value: Value of each task completed, shape (n_tasks,).
        cancel_cost: Cost of a start that is rolled back.
        idle_cost_per_lane_h: Cost of an idle lane hour.
    """

    left_s: Floats
    probability: Floats
    busy_h: Floats
    curve: Ints
    value: Floats
    cancel_cost: float
    idle_cost_per_lane_h: float

    def in_time(self, tasks: Ints, left_s: Floats) -> Floats:
        """P(D <= left_s) of some tasks, read at the slot at or before: never overstated."""
        slot = np.searchsorted(self.left_s, left_s, "right") - 1
        read = self.probability[self.curve[tasks], np.maximum(slot, 0)]
        return np.where(slot >= 0, read, 0.0)

    def of(self, tasks: Ints, left_s: Floats) -> Floats:
        """Expected value of starting some tasks with so much time left."""
        slot = np.searchsorted(self.left_s, left_s, "right") - 1
        busy_h = np.where(slot >= 0, self.busy_h[self.curve[tasks], np.maximum(slot, 0)], 0.0)
        probability = self.in_time(tasks, left_s)
        return (
            self.value[tasks] * probability
            - self.cancel_cost * (1 - probability)
            + self.idle_cost_per_lane_h * busy_h
        )

    def least_left_s(self) -> Floats:
        """Least time left at which each task gains anything, infinite: never; (n_tasks,)."""
        tasks = np.arange(len(self.curve), dtype=np.int64)
        least_s = np.full(len(tasks), np.inf)
        # From the longest down, since a gain never falls as the time left grows.
        for left_s in self.left_s[::-1]:
            pays = self.of(tasks, np.full(len(tasks), left_s)) >= 0
            least_s = np.where(pays, left_s, least_s)
        return least_s


def gains_of(forecast: InTime, value: Floats, costs: CostModel) -> Gains:
    """Price the forecast of each task; equal forecasts are stored once.

    Args:
        forecast: P(D <= t) per task, on any rising grid of times.
        value: Value of each task, shape (n_tasks,), in units of `costs.completed_value`.
        costs: What outcomes are worth.
    """
    rows = np.ascontiguousarray(forecast.probability, dtype=np.float64)
    as_bytes = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel()
    _, first, curve = np.unique(as_bytes, return_index=True, return_inverse=True)
    probability = rows[first]
    survival = np.column_stack([np.ones(len(first)), 1 - probability])
    slots_h = np.diff(forecast.left_s, prepend=0.0) / 3_600
    return Gains(
        left_s=np.asarray(forecast.left_s, dtype=np.float64),
        probability=probability,
        busy_h=np.cumsum((survival[:, 1:] + survival[:, :-1]) / 2 * slots_h, axis=1),
        curve=curve.ravel().astype(np.int64),
        value=value * costs.completed_value,
        cancel_cost=costs.cancel_cost,
        idle_cost_per_lane_h=costs.idle_cost_per_lane_h,
    )

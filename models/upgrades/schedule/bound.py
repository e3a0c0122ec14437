"""A value that no plan can exceed, and the value of a plan."""

from __future__ import annotations

import numpy as np

from models.upgrades.schedule.base import Floats, Ints, Problem
from models.upgrades.schedule.order import best_gain


def objective(problem: Problem, window: Ints, start_s: Ints, latest_s: Ints) -> float:
    """Expected value of a plan: the gains of its starts less the cost of idle lanes."""
    placed = np.flatnonzero(window >= 0)
    gains = problem.gains.of(placed, (latest_s[placed] - start_s[placed]).astype(np.float64))
    return float(gains.sum()) - idle_cost(problem)


def idle_cost(problem: Problem) -> float:
    """Cost of all lanes standing idle in all windows; gains count back what is busy."""
    return problem.gains.idle_cost_per_lane_h * problem.lane_capacity_s / 3_600


def knapsack_bound(problem: Problem) -> float:
    """Upper bound: per domain a fractional knapsack of all its windows' lane time.

    Every task at its best gain, the reserved time as weight; caps, waves, precedence,
    deadlines and freezes are relaxed.

    Source: Dantzig (1957), "Discrete-Variable Extremum Problems".
    """
    tasks = problem.tasks
    gain = np.where(tasks.is_open, np.maximum(best_gain(problem), 0.0), 0.0)
    weight_s = np.minimum(tasks.reserved_s, problem.window_s[tasks.domain]).astype(np.float64)
    order = np.lexsort((-gain / weight_s, tasks.domain))
    capacity_s = (problem.lanes * problem.window_s * problem.opens_s.shape[1]).astype(np.float64)
    return float((gain * _taken(order, tasks.domain, weight_s, capacity_s)).sum()) - idle_cost(
        problem
    )


def _taken(order: Ints, domain: Ints, weight_s: Floats, capacity_s: Floats) -> Floats:
    """Share of each task that fits when the densest of its domain go first."""
    filled_s = np.cumsum(weight_s[order])
    first = np.searchsorted(domain[order], np.arange(len(capacity_s)))
    before_s = np.concatenate([[0.0], filled_s])[first]
    room_s = capacity_s[domain[order]] - (filled_s - weight_s[order] - before_s[domain[order]])
    share = np.empty(len(order))
    share[order] = np.clip(room_s / weight_s[order], 0.0, 1.0)
    return share

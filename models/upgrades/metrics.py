"""The one place where every measure is defined.

The paper's own definitions are not public; these are ours, and reports say so.

- scheduled: starts; a task that comes back counts each time.
- completed: starts that ended inside their window.
- cancelled: starts that were not done in time and were rolled back.
- cancellation rate: cancelled / scheduled. Refusals are no cancellations, reported apart.
- utilisation: lane time of completed starts / lane time of all open windows.
- waste: lane time of cancelled starts, rollbacks up to the close included, / the same.
- occupied: utilisation + waste; the rest is idle.
- waste and idle minutes: the same as lane minutes.
- SLO breach minutes: host minutes down above the cap of a service in its domain, plus host
  minutes down after the close of a window. A host that is both counts in both.
- days to done: from the arrival of a task to its completion, mean and P90 of the completed
  tasks. Those that never complete do not count: read it at equal completions.
- cost: cancel_cost x cancelled + idle_cost x idle lane hours - completed_value x completed.
- regret: 1 - net value / net value of the clairvoyant oracle, net value being
  completed_value x completed - cancel_cost x cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.upgrades.config import DAY_S, CostModel

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PolicyMetrics:
    """What a policy did to the tasks of a period; see the module for definitions.

    `refused`, `given_up` and `waiting` count tasks: needs more than a whole window; used
    all its tries; still in the backlog at the end. Together with `completed` they are all.
    None: not measured.
    """

    tasks: int
    scheduled: int
    completed: int
    cancelled: int
    refused: int
    given_up: int
    waiting: int
    utilisation: float
    waste: float
    cancellation_rate: float | None
    cost: float
    cost_per_task: float
    occupied: float
    waste_min: float
    idle_min: float
    slo_breach_min: float | None = None
    days_to_done_mean: float | None = None
    days_to_done_p90: float | None = None


def policy_metrics(
    *,
    tasks: int,
    busy_s: Floats,
    is_completed: NDArray[np.bool_],
    refused: int,
    given_up: int,
    capacity_s: float,
    costs: CostModel,
    to_done_s: Floats | None = None,
    slo_breach_s: float | None = None,
) -> PolicyMetrics:
    """Count and price the starts of a simulation.

    Args:
        tasks: Tasks of the period.
        busy_s: Lane time of each start inside its window, with the rollback if there was
            one, in seconds, shape (n_starts,).
        is_completed: Whether each start ended inside its window, shape (n_starts,).
        refused: Tasks that need more than a whole window.
        given_up: Tasks that used all their tries.
        capacity_s: Lane time of all open windows, in seconds.
        costs: Prices.
        to_done_s: Time from arrival to completion, in seconds, shape (n_completed,).
        slo_breach_s: Host-seconds in breach.
    """
    scheduled, completed = len(busy_s), int(is_completed.sum())
    cancelled = scheduled - completed
    idle_h = max(capacity_s - float(busy_s.sum()), 0.0) / 3_600
    waste_s = float(busy_s[~is_completed].sum())
    to_done_days = np.array([]) if to_done_s is None else to_done_s / DAY_S
    cost = (
        costs.cancel_cost * cancelled
        + costs.idle_cost_per_lane_h * idle_h
        - costs.completed_value * completed
    )
    return PolicyMetrics(
        tasks=tasks,
        scheduled=scheduled,
        completed=completed,
        cancelled=cancelled,
        refused=refused,
        given_up=given_up,
        waiting=tasks - completed - refused - given_up,
        utilisation=float(busy_s[is_completed].sum()) / capacity_s if capacity_s else 0.0,
        waste=waste_s / capacity_s if capacity_s else 0.0,
        cancellation_rate=cancelled / scheduled if scheduled else None,
        cost=cost,
        cost_per_task=cost / tasks if tasks else 0.0,
        occupied=float(busy_s.sum()) / capacity_s if capacity_s else 0.0,
        waste_min=waste_s / 60,
        idle_min=idle_h * 60,
        slo_breach_min=None if slo_breach_s is None else slo_breach_s / 60,
        days_to_done_mean=float(to_done_days.mean()) if len(to_done_days) else None,
        days_to_done_p90=float(np.quantile(to_done_days, 0.9)) if len(to_done_days) else None,
    )


def regret(metrics: PolicyMetrics, oracle: PolicyMetrics, costs: CostModel) -> float | None:
    """Share of the oracle's net value that a policy misses; None if the oracle earns none."""
    best = costs.completed_value * oracle.completed - costs.cancel_cost * oracle.cancelled
    own = costs.completed_value * metrics.completed - costs.cancel_cost * metrics.cancelled
    return 1 - own / best if best > 0 else None


def pinball_log_min(duration_s: Floats, quantile_s: Floats, level: float) -> float:
    """Mean pinball loss in log minutes (unit-free: log seconds give the same number).

    Args:
        duration_s: Actual durations, seconds, shape (n_tasks,).
        quantile_s: Forecast quantiles at `level`, seconds, shape (n_tasks,).
        level: Quantile level, in (0, 1).

    Source: Koenker & Bassett (1978), "Regression Quantiles".
    """
    late = np.log(duration_s) - np.log(quantile_s)
    return float(np.maximum(level * late, (level - 1) * late).mean())


def coverage(duration_s: Floats, quantile_s: Floats) -> float:
    """Share of tasks that ended within their quantile."""
    return float((duration_s <= quantile_s).mean())

"""What is known of a task that is longer than the windows of its domain."""

from __future__ import annotations

import numpy as np

from models.upgrades.rollout.forecast import LONGEST_WINDOW_S, TaskForecast
from models.upgrades.rollout.openings import minutes
from models.upgrades.rollout.problem import FleetProblem
from models.upgrades.schedule.base import NEVER_S


def too_long_words(built: FleetProblem, forecast: TaskForecast, task: int) -> str:
    """Say how long a task takes, how likely a whole window is enough, and which would do."""
    arrays, problem = built.problem.tasks, built.problem
    window_s = int(problem.window_s[arrays.domain[task]])
    rollback_s = int(arrays.rollback_s[task])
    left_s = float(window_s - rollback_s)
    reserved_s, most_s = float(arrays.reserved_s[task]), float(forecast.in_time.left_s[-1])
    if reserved_s >= NEVER_S:
        reserved_s = np.inf
        if forecast.longer_s is not None:
            reserved_s, most_s = float(forecast.longer_s[task]), float(LONGEST_WINDOW_S)
    would = f"more than {minutes(most_s)}"
    if np.isfinite(reserved_s):
        would = minutes(reserved_s + rollback_s)
    p_in_time = problem.gains.in_time(np.array([task]), np.array([max(left_s, 0.0)]))[0]
    p50, p90 = (
        minutes(at_s) if np.isfinite(at_s) else f"more than {minutes(most_s)}"
        for at_s in (float(forecast.p50_s[task]), float(forecast.p90_s[task]))
    )
    return (
        f"P50 is {p50} and P90 {p90}; it ends with probability {p_in_time:.0%} in a whole window "
        f"of {built.tasks['domain'].iloc[task]}, {minutes(window_s)} less {minutes(rollback_s)} "
        f"for a rollback; it needs one of {would}: lengthen them or hand it to a person"
    )

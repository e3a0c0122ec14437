"""What the planner asks of a forecaster: P(D <= t) and a reservation per task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.errors import ConfigError
from models.upgrades.config import DAY_S
from models.upgrades.costs import InTime
from models.upgrades.schedule.base import NEVER_S, Floats, Ints
from models.upgrades.schedule.gains import Gains

LONGEST_WINDOW_S = DAY_S
"""Windows are daily, so none is longer."""


@dataclass(frozen=True)
class TaskForecast:
    """What a forecaster says of the backlog, in the order of its rows.

    Attributes:
        in_time: P(D <= t) per task on a rising grid of times, up to the longest window.
        reserved_s: Lane time to reserve, seconds, shape (n_tasks,); infinite where no
            window is long enough.
        p50_s: Median duration, seconds, shape (n_tasks,).
        p90_s: 90 % quantile, same shape.
        longer_s: What would be reserved where windows were as long as it takes, same shape;
            infinite where a day is too short; None: not asked. Only sentences use it.
    """

    in_time: InTime
    reserved_s: Floats
    p50_s: Floats
    p90_s: Floats
    longer_s: Floats | None = None


def check_forecast(forecast: TaskForecast, n_tasks: int) -> None:
    """Raise a ConfigError if the forecast is not one of this backlog."""
    probability, reserved_s = forecast.in_time.probability, forecast.reserved_s
    shape = (n_tasks, len(forecast.in_time.left_s))
    if probability.shape != shape or reserved_s.shape != (n_tasks,):
        raise ConfigError(
            f"the forecast has shapes {probability.shape} and {reserved_s.shape}, the backlog "
            f"asks for {shape} and {(n_tasks,)}; forecast the tasks of this fleet, in order"
        )
    # Written so that NaN fails too.
    is_bad = ~((probability >= 0) & (probability <= 1)).all(axis=1) | ~(reserved_s > 0)
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        raise ConfigError(
            f"the forecast of task row {row} has a probability outside [0, 1] or reserves "
            f"{reserved_s[row]} s; {int(is_bad.sum())} such rows: use the fallback forecaster"
        )


def reservations(forecast: TaskForecast, gains: Gains) -> tuple[Ints, Floats]:
    """Seconds to reserve per task, and the least time left at which a start gains anything.

    A reservation is raised until starting with no more than it left still pays. Shapes
    (n_tasks,); `NEVER_S` where no time is enough, infinite where no start pays.
    """
    least_s = gains.least_left_s()
    needed_s = np.ceil(np.maximum(forecast.reserved_s, least_s))
    reserved_s = np.where(np.isfinite(needed_s), needed_s, float(NEVER_S)).astype(np.int64)
    return reserved_s, least_s

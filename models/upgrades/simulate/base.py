"""What goes into a simulation and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.forecast.base import Floats
from models.upgrades.metrics import PolicyMetrics
from models.upgrades.splits import Rows

WAITING, COMPLETED, REFUSED, GIVEN_UP = "waiting", "completed", "refused", "given up"

# Time that must be left for aborted tasks, given their places and how long each had run:
# Retry(places, elapsed_s) -> reserved_s, all of shape (n_aborted,), seconds.
Retry = Callable[[NDArray[np.int64], Floats], Floats]


@dataclass(frozen=True)
class SimulatedTasks:
    """Tasks of a period; arrays of shape (n_tasks,), first in line first.

    Attributes:
        rows: Row of each task in the history.
        domain: Domain of each task.
        host: Code of the host; a host is in one domain.
        arrival_s: When the task is known, seconds of the local clock.
        duration_s: True duration; it decides what happens, never what is chosen.
        reserved_s: Time that must be left to start the task; above a window: refused.
        service: Service that is without the host meanwhile; None: one service per domain.
    """

    rows: Rows
    domain: NDArray[np.object_]
    host: NDArray[np.int64]
    arrival_s: NDArray[np.int64]
    duration_s: Floats
    reserved_s: Floats
    service: NDArray[np.object_] | None = None

    def __post_init__(self) -> None:
        """Refuse times that no simulation can run.

        Raises:
            ConfigError: A duration is not a positive number, or a reservation is not
                positive (infinite is allowed: refused).
        """
        is_duration = np.isfinite(self.duration_s) & (self.duration_s > 0)
        for name, values, is_good, rule in (
            ("duration_s", self.duration_s, is_duration, "a positive finite number"),
            ("reserved_s", self.reserved_s, self.reserved_s > 0, "positive"),
        ):
            if not is_good.all():
                place = int(np.flatnonzero(~is_good)[0])
                raise ConfigError(
                    f"{name} of every task must be {rule}, found {values[place]} for row "
                    f"{self.rows[place]} ({int((~is_good).sum())} such tasks); drop them or "
                    "correct their times"
                )


@dataclass(frozen=True)
class SimulationResult:
    """What happened to every task.

    Attributes:
        attempts: One row per start: row (of the history), attempt (from 1), domain,
            window_open_s, lane, start_s, end_s (done or aborted), is_completed, free_s
            (lane and host are released, after an abort when it is rolled back).
        outcomes: Outcome of each task (completed, refused, given up, waiting), by row.
        capacity_s: Lane time of all open windows, seconds.
        metrics: Counts and prices; definitions in `models.upgrades.metrics`.
    """

    attempts: pd.DataFrame
    outcomes: pd.Series
    capacity_s: float
    metrics: PolicyMetrics

    @property
    def observations(self) -> pd.DataFrame:
        """What a next training would see of the starts, in order of their end.

        Columns: row, attempt, start_s, end_s, duration_s (of an abort: how long it had run,
        a lower bound), outcome (completed or aborted), is_censored.
        """
        seen = self.attempts.sort_values(["end_s", "row"], ignore_index=True)
        is_done = seen["is_completed"].to_numpy(bool)
        return pd.DataFrame(
            {
                **{name: seen[name] for name in ("row", "attempt", "start_s", "end_s")},
                "duration_s": seen["end_s"] - seen["start_s"],
                "outcome": np.where(is_done, COMPLETED, "aborted"),
                "is_censored": ~is_done,
            }
        )

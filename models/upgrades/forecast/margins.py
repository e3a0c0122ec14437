"""Conformal margins by day and type: what recent errors call for, known at each midnight.

Measured on started tasks: those that still run, or were aborted, count as longer than their
time so far. Static split conformal loses its low levels when the fleet drifts, so margins
are measured anew every midnight, and their levels may adapt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.errors import NotEnoughDataError
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.forecast.heuristics import POOLING_TASKS
from models.upgrades.splits import Rows

POOLED = -1  # stands for "all types" where a type code is expected
# Tasks that start within one hour are one event: clusters go down as a whole.
BURST_S = 3_600


def conformal_margins(scores: Floats, levels: Floats, is_known: Mask | None = None) -> Floats:
    """Log seconds to add to the quantile at each level so that it covers its share.

    Args:
        scores: Log duration minus log quantile of started tasks, shape (n_tasks, n_levels).
            Positive means that the task ran longer than its quantile.
        levels: Quantile levels, shape (n_levels,) in (0, 1).
        is_known: Whether each task was seen to its end, shape (n_tasks,); the score of one
            that still runs or was aborted is a lower bound, and Kaplan-Meier spreads its
            weight over the longer ones. None: all are known.

    Raises:
        NotEnoughDataError: Too few ended tasks for the highest level.

    Source: Lei et al. (2018), "Distribution-Free Predictive Inference for Regression";
    Romano, Patterson & Candès (2019), "Conformalized Quantile Regression", one-sided.
    """
    n = len(scores)
    highest = float(levels.max())
    known = n if is_known is None else int(is_known.sum())
    if known < tasks_needed(highest):
        raise NotEnoughDataError(
            f"level {highest:g} needs at least {tasks_needed(highest)} ended tasks, got {known}; "
            "collect more history or lower the highest level"
        )
    columns = np.arange(len(levels))
    # Rounded first: 0.9 / (1 - 0.9) is 9.000000000000002, and ceil would make it 10.
    ranks = np.minimum(np.ceil(np.round((n + 1) * levels, 9)).astype(int), n)
    if is_known is None or is_known.all():
        return np.asarray(np.sort(scores, axis=0)[ranks - 1, columns])
    by_level = np.ascontiguousarray(scores.T)
    order = np.argsort(by_level, axis=1, kind="stable")
    at_risk = n - np.arange(n)
    lasts = np.cumprod(1 - is_known[order] / at_risk, axis=1)
    # The same ranks as above, as shares of the tasks.
    reached = 1 - lasts >= ranks[:, None] / n - 1e-12
    places = np.where(reached.any(axis=1), reached.argmax(axis=1), n - 1)
    return np.asarray(by_level[columns, order[columns, places]])


def tasks_needed(level: float) -> int:
    """Fewest ended tasks that support a finite margin at `level`."""
    return math.ceil(round(level / (1 - level), 9))


@dataclass(frozen=True)
class MarginTable:
    """Margins by day and type: row i of `log_s` holds from midnight `as_of_s[i]` on."""

    as_of_s: NDArray[np.int64]
    log_s: dict[int, Floats]
    counts: dict[int, NDArray[np.int64]]


class StartedTasks(NamedTuple):
    """Tasks in order of their start; arrays of shape (n_tasks,), log_q (n_tasks, n_levels)."""

    start_s: NDArray[np.int64]
    end_s: NDArray[np.int64]
    log_s: Floats
    is_censored: Mask
    log_q: Floats

    def take(self, rows: Mask) -> StartedTasks:
        """Return the tasks where `rows` is true."""
        return StartedTasks(
            self.start_s[rows],
            self.end_s[rows],
            self.log_s[rows],
            self.is_censored[rows],
            self.log_q[rows],
        )

    def seen_at(self, until: int, window: int, at_s: int) -> tuple[Floats, Mask]:
        """Scores of the latest `window` of the first `until` tasks, and which are known."""
        own = slice(max(0, until - window), until)
        is_over = self.end_s[own] <= at_s
        ran_s = np.maximum(at_s - self.start_s[own], 1).astype(float)
        log_s = np.where(is_over, self.log_s[own], np.log(ran_s))
        return log_s[:, None] - self.log_q[own], is_over & ~self.is_censored[own]


def margin_table(
    started: StartedTasks,
    codes: NDArray[np.int64],
    last_s: int,
    levels: Floats,
    config: UpgradeConfig,
) -> MarginTable:
    """Margins at every midnight from the first that has enough tasks to the last decision."""
    needed = tasks_needed(float(levels[-1]))
    is_static = config.margins == "split"
    ends = np.sort(started.end_s[~started.is_censored])
    first_day = int(ends[-1 if is_static else needed - 1]) // DAY_S + 1
    as_of_s = np.arange(first_day, max(last_s // DAY_S, first_day) + 1, dtype=np.int64) * DAY_S
    window = len(codes) if is_static else config.conformal_window
    pooled, count = _rolling(started, as_of_s, levels, window)
    log_s, counts = {POOLED: pooled}, {POOLED: count}
    if config.margins in ("split", "rolling"):
        return MarginTable(as_of_s, log_s, counts)
    least = max(config.conformal_type_min, needed)
    step = config.adaptive_step if config.margins == "adaptive" else 0.0
    for code in np.unique(codes).tolist():
        mine = codes == code
        if mine.sum() < least:
            continue
        own, count = _rolling(
            started.take(mine), as_of_s, levels, config.conformal_type_window, step
        )
        share = (count / (count + POOLING_TASKS))[:, None]
        margins = share * own + (1 - share) * pooled
        margins[count < least] = np.nan
        log_s[code], counts[code] = margins, count
    return MarginTable(as_of_s, log_s, counts)


class _Feedback:
    """Which tasks outran their margin, told as soon as it is known, each once per level.

    A task that still runs has outrun its margin the moment it is longer; to wait for its
    end would hear of short tasks first, and high levels would fall.
    """

    def __init__(self, started: StartedTasks) -> None:
        self._started = started
        self._is_told = np.zeros(started.log_q.shape, dtype=bool)

    def of(
        self, running: Rows, ended: Rows, at_s: int, margins: Floats
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Misses and hits per level among tasks that run or have just ended."""
        started = self._started
        ran_s = np.maximum(at_s - started.start_s[running], 1).astype(float)
        late = np.log(ran_s)[:, None] - started.log_q[running] > margins
        late &= ~self._is_told[running]
        self._is_told[running] |= late
        ended = ended[~started.is_censored[ended]]
        open_ = ~self._is_told[ended]
        outran = started.log_s[ended, None] - started.log_q[ended] > margins
        misses = late.sum(axis=0) + (outran & open_).sum(axis=0)
        return misses, (~outran & open_).sum(axis=0)


def _rolling(
    started: StartedTasks,
    as_of_s: NDArray[np.int64],
    levels: Floats,
    window: int,
    step: float = 0.0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Margins per midnight from the latest `window` tasks, NaN if too few; and their number.

    With a `step` the levels adapt: they rise by it for each task that outran its margin and
    fall for each that did not, so that a lasting drift cannot hide behind a long window.

    The finite-sample correction counts hours with starts instead of tasks: a thousand tasks
    that went down in thirty bursts tell no more of the next burst than thirty do.

    Source: Gibbs & Candès (2021), "Adaptive Conformal Inference Under Distribution Shift";
    Dunn, Wasserman & Ramdas (2023), "Distribution-Free Prediction Sets for Two-Layer
    Hierarchical Models", for groups of alike tasks as the sample.
    """
    fewest = tasks_needed(float(levels[-1]))
    table = np.full((len(as_of_s), len(levels)), np.nan)
    counts = np.zeros(len(as_of_s), dtype=np.int64)
    begun = np.searchsorted(started.start_s, as_of_s)
    by_end = np.argsort(started.end_s, kind="stable")
    over = np.searchsorted(started.end_s[by_end], as_of_s, "right")
    margins, asked, before = table[0].copy(), levels, (-1, -1, False)
    hour = started.start_s // BURST_S
    feedback = _Feedback(started)
    for day, (until, ended) in enumerate(zip(begun.tolist(), over.tolist(), strict=True)):
        runs = until > ended
        # While a task runs its time so far grows from day to day.
        if (until, ended, runs) != before or runs:
            scores, is_known = started.seen_at(until, window, int(as_of_s[day]))
            counts[day] = is_known.sum()
            if counts[day] >= fewest:
                if step and np.isfinite(margins).all():
                    own = np.arange(max(0, until - window), until)
                    running = own[started.end_s[own] > as_of_s[day]]
                    new = by_end[max(before[1], 0) : ended]
                    misses, hits = feedback.of(running, new, int(as_of_s[day]), margins)
                    asked = asked + step * (misses * levels - hits * (1 - levels))
                    asked = np.clip(asked, levels / 2, (1 + levels) / 2)
                n_bursts = len(np.unique(hour[max(0, until - window) : until]))
                lifted = np.minimum(asked * (1 + 1 / n_bursts), (1 + levels) / 2)
                # A level between the observed ranks has the greatest of them.
                reachable = np.minimum(lifted, counts[day] / (counts[day] + 1))
                margins = conformal_margins(scores, reachable, is_known)
        else:
            counts[day] = counts[day - 1]
        before = (until, ended, runs)
        table[day] = margins
    return table, counts

"""Rolling conformal margins: keep the coverage of a fitted forecaster under drift.

Static split conformal loses its low levels when the fleet drifts, so the margins are
measured anew every midnight on the latest tasks that had ended by then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales
from models.upgrades.forecast.heuristics import POOLING_TASKS
from models.upgrades.history import History
from models.upgrades.splits import Rows

POOLED = -1  # stands for "all types" where a type code is expected


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
class _MarginTable:
    """Margins by day and type: row i of `log_s` holds from midnight `as_of_s[i]` on."""

    as_of_s: NDArray[np.int64]
    log_s: dict[int, Floats]
    counts: dict[int, NDArray[np.int64]]


class CalibratedModel(GridForecaster):
    """A fitted forecaster plus the margins that its recent errors call for.

    The margins in force at a decision were measured at the midnight before it, on the
    latest `conformal_window` tasks started by then; those that still ran count as longer
    than their time so far, since a window of ended tasks only would hold too few long ones.
    A type with `conformal_type_min` tasks has margins of its own, measured on its latest
    `conformal_type_window`, pulled towards those of all tasks by its small number. Coverage
    is marginal over tasks, not a promise for one task.
    """

    def __init__(
        self,
        base: GridForecaster,
        levels: Sequence[float],
        table: _MarginTable,
        tails: tuple[float, float],
        type_labels: Sequence[str],
    ) -> None:
        self.name = base.name
        self.base = base
        self.levels = np.asarray(levels, dtype=float)
        self._table = table
        self._tails = tails
        self._type_labels = tuple(type_labels)

    def fit(self, X: FeatureTable, duration_s: Floats, is_censored: Mask | None = None) -> Self:
        """Refuse: margins belong to the forecaster they were measured on.

        Raises:
            ConfigError: Always; fit a new forecaster and call `calibrate` on it.
        """
        raise ConfigError(
            f"{self.name} is calibrated and cannot be fitted again, its margins would be those "
            "of another model; fit a new forecaster and calibrate it"
        )

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the forecaster's quantiles with the margins of each decision day."""
        log_s = np.log(self.base.quantiles(X, self.levels.tolist()))
        return QuantileGrid(self.levels, rearranged(log_s + self._margins_at(X)), *self._tails)

    def contributions(self, X: FeatureTable, level: float) -> Contributions | None:
        """What each feature adds to the log quantile before margins."""
        return self.base.contributions(X, level)

    def _margins_at(self, X: FeatureTable) -> Floats:
        table = self._table
        day = np.searchsorted(table.as_of_s, X.decision_s, "right") - 1
        margins = table.log_s[POOLED][day]
        for code, own in table.log_s.items():
            if code != POOLED:
                rows = (X.codes("type") == code) & np.isfinite(own[day, 0])
                margins[rows] = own[day[rows]]
        # Before the first midnight with enough ended tasks no margin was known.
        margins[day < 0] = 0.0
        return margins

    @property
    def margins(self) -> pd.DataFrame:
        """The margin table: as_of_s, type, n_tasks, and log seconds per level."""
        parts = []
        for code, log_s in self._table.log_s.items():
            part = pd.DataFrame(log_s, columns=[f"{level:g}" for level in self.levels])
            part.insert(0, "n_tasks", self._table.counts[code])
            part.insert(0, "type", "all" if code == POOLED else self._type_labels[code])
            part.insert(0, "as_of_s", self._table.as_of_s)
            parts.append(part.dropna())
        return pd.concat(parts, ignore_index=True)


def calibrate(
    model: GridForecaster,
    features: FeatureTable,
    history: History,
    rows: Rows,
    config: UpgradeConfig,
) -> CalibratedModel:
    """Measure margins from the calibrate rows on, as `config.margins` says.

    Later rows of the history feed rolling margins too: at each midnight those that had
    ended by their duration, those that still ran by the time they had run. A decision sees
    nothing else, as in production.

    Args:
        model: A forecaster fitted on rows before these.
        features: As-of features of the whole history.
        history: The events behind `features`.
        rows: Calibrate rows.
        config: Kind of margin and sizes of the rolling windows.

    Raises:
        NotEnoughDataError: Fewer completed rows than the highest level needs.
    """
    levels = np.asarray(config.levels, dtype=float)
    needed = tasks_needed(config.levels[-1])
    completed = rows[~history.is_censored[rows]]
    if len(completed) < needed:
        raise NotEnoughDataError(
            f"level {config.levels[-1]} needs at least {needed} calibration tasks, "
            f"got {len(completed)}; collect more history or lower the highest of `levels`"
        )
    is_static = config.margins == "split"
    stream = rows if is_static else np.arange(int(rows.min()), len(history), dtype=np.int64)
    X = features.take(stream)
    log_q = np.log(model.quantiles(X, config.levels))
    started = _Started(
        start_s=history.seconds("start_s")[stream],
        end_s=history.seconds("end_s")[stream],
        log_s=np.log(history.seconds("duration_s")[stream].astype(float)),
        is_censored=history.is_censored[stream],
        log_q=log_q,
    )
    last_s = int(features.decision_s.max())
    table = _margin_table(started, X.codes("type"), last_s, levels, config)
    first = np.isin(stream, completed)
    scores = started.log_s[first, None] - log_q[first]
    shifted = log_q[first] + conformal_margins(scores, levels)
    tails = tail_scales(started.log_s[first], shifted[:, 0], shifted[:, -1])
    return CalibratedModel(model, config.levels, table, tails, features.categories["type"])


class _Started(NamedTuple):
    """Tasks in order of their start; arrays of shape (n_tasks,), log_q (n_tasks, n_levels)."""

    start_s: NDArray[np.int64]
    end_s: NDArray[np.int64]
    log_s: Floats
    is_censored: Mask
    log_q: Floats

    def take(self, rows: Mask) -> _Started:
        return _Started(
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


def _margin_table(
    started: _Started,
    codes: NDArray[np.int64],
    last_s: int,
    levels: Floats,
    config: UpgradeConfig,
) -> _MarginTable:
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
        return _MarginTable(as_of_s, log_s, counts)
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
    return _MarginTable(as_of_s, log_s, counts)


class _Feedback:
    """Which tasks outran their margin, told as soon as it is known, each once per level.

    A task that still runs has outrun its margin the moment it is longer; to wait for its
    end would hear of short tasks first, and high levels would fall.
    """

    def __init__(self, started: _Started) -> None:
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
    started: _Started,
    as_of_s: NDArray[np.int64],
    levels: Floats,
    window: int,
    step: float = 0.0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Margins per midnight from the latest `window` tasks, NaN if too few; and their number.

    With a `step` the levels adapt: they rise by it for each task that outran its margin and
    fall for each that did not, so that a lasting drift cannot hide behind a long window.

    Source: Gibbs & Candès (2021), "Adaptive Conformal Inference Under Distribution Shift".
    """
    fewest = tasks_needed(float(levels[-1]))
    table = np.full((len(as_of_s), len(levels)), np.nan)
    counts = np.zeros(len(as_of_s), dtype=np.int64)
    begun = np.searchsorted(started.start_s, as_of_s)
    by_end = np.argsort(started.end_s, kind="stable")
    over = np.searchsorted(started.end_s[by_end], as_of_s, "right")
    margins, asked, before = table[0].copy(), levels, (-1, -1, False)
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
                # A level between the observed ranks has the greatest of them.
                reachable = np.minimum(asked, counts[day] / (counts[day] + 1))
                margins = conformal_margins(scores, reachable, is_known)
        else:
            counts[day] = counts[day - 1]
        before = (until, ended, runs)
        table[day] = margins
    return table, counts

"""Rolling conformal margins: keep the coverage of a fitted forecaster under drift.

Static split conformal loses its low levels when the fleet drifts, so the margins are
measured anew every midnight on the latest tasks that had ended by then.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats, GridForecaster
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales
from models.upgrades.history import History
from models.upgrades.splits import Rows

POOLED = -1  # stands for "all types" where a type code is expected


def conformal_margins(scores: Floats, levels: Floats) -> Floats:
    """Log seconds to add to the quantile at each level so that it covers its share.

    Args:
        scores: Log duration minus log quantile of ended tasks, shape (n_tasks, n_levels).
            Positive means that the task ran longer than its quantile.
        levels: Quantile levels, shape (n_levels,).

    Raises:
        NotEnoughDataError: Too few tasks for the highest level.

    Source: Lei et al. (2018), "Distribution-Free Predictive Inference for Regression";
    Romano, Patterson & Candès (2019), "Conformalized Quantile Regression", one-sided.
    """
    n = len(scores)
    # Rounded first: 0.9 / (1 - 0.9) is 9.000000000000002, and ceil would make it 10.
    ranks = [math.ceil(round((n + 1) * level, 9)) for level in levels]
    if ranks[-1] > n:
        needed = tasks_needed(float(levels[-1]))
        raise NotEnoughDataError(
            f"level {levels[-1]} needs at least {needed} ended tasks, got {n}; "
            "collect more history or lower the highest level"
        )
    ordered = np.sort(scores, axis=0)
    return np.array([ordered[rank - 1, place] for place, rank in enumerate(ranks)])


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
    latest `conformal_window` tasks ended by then; a type with at least
    `conformal_type_min` tasks among them has margins of its own. Coverage is marginal
    over tasks, not a promise for one task.
    """

    def __init__(
        self,
        base: DurationModel,
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

    def fit(self, X: FeatureTable, duration_s: Floats) -> Self:
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
    model: DurationModel,
    features: FeatureTable,
    history: History,
    rows: Rows,
    config: UpgradeConfig,
) -> CalibratedModel:
    """Measure rolling margins from the calibrate rows on.

    Later rows of the history feed the margins too, each from the midnight after its END:
    a decision sees only tasks that had ended before it, as in production.

    Args:
        model: A forecaster fitted on rows before these.
        features: As-of features of the whole history.
        history: The events behind `features`.
        rows: Calibrate rows.
        config: Sizes of the rolling window.

    Raises:
        NotEnoughDataError: Fewer rows than the highest level needs.
    """
    levels = np.asarray(config.levels, dtype=float)
    needed = tasks_needed(config.levels[-1])
    if len(rows) < needed:
        raise NotEnoughDataError(
            f"level {config.levels[-1]} needs at least {needed} calibration tasks, "
            f"got {len(rows)}; collect more history or lower the highest of `levels`"
        )
    stream = np.arange(int(rows.min()), len(history), dtype=np.int64)
    stream = stream[np.argsort(history.seconds("end_s")[stream], kind="stable")]
    X = features.take(stream)
    log_s = np.log(history.seconds("duration_s")[stream].astype(float))
    quantiles = np.log(model.quantiles(X, config.levels))
    scores = log_s[:, None] - quantiles
    table = _margin_table(scores, X, history.seconds("end_s")[stream], levels, config)
    first = np.isin(stream, rows)
    static = conformal_margins(scores[first], levels)
    shifted = quantiles[first] + static
    tails = tail_scales(log_s[first], shifted[:, 0], shifted[:, -1])
    return CalibratedModel(model, config.levels, table, tails, features.categories["type"])


def _margin_table(
    scores: Floats,
    X: FeatureTable,
    end_s: NDArray[np.int64],
    levels: Floats,
    config: UpgradeConfig,
) -> _MarginTable:
    """Margins at every midnight from the first ended task to the last decision."""
    needed = tasks_needed(float(levels[-1]))
    first_day = int(end_s[min(needed, len(end_s)) - 1]) // DAY_S + 1
    last_day = max(int(X.decision_s.max()) // DAY_S, first_day)
    as_of_s = np.arange(first_day, last_day + 1, dtype=np.int64) * DAY_S
    codes = X.codes("type")
    least = max(config.conformal_type_min, needed)
    log_s, counts = {}, {}
    for code in [POOLED, *np.unique(codes).tolist()]:
        mine = np.ones(len(codes), dtype=bool) if code == POOLED else codes == code
        if code != POOLED and mine.sum() < least:
            continue
        ended = np.searchsorted(end_s[mine], as_of_s, "right")
        fewest = needed if code == POOLED else least
        log_s[code] = np.array(
            list(_rolling(scores[mine], ended, levels, config.conformal_window, fewest))
        )
        counts[code] = np.minimum(ended, config.conformal_window)
    return _MarginTable(as_of_s, log_s, counts)


def _rolling(
    scores: Floats, ended: NDArray[np.int64], levels: Floats, window: int, fewest: int
) -> Iterator[Floats]:
    """Margins per day from the last `window` of the first `ended` scores; NaN if too few."""
    unknown = np.full(len(levels), np.nan)
    margins, before = unknown, -1
    for n in ended.tolist():
        if n != before:
            recent = scores[max(0, n - window) : n]
            margins = conformal_margins(recent, levels) if len(recent) >= fewest else unknown
            before = n
        yield margins

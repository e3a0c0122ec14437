"""Calibrated forecasters: a fitted one plus the margins that its recent errors call for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import pandas as pd

from models.errors import ConfigError, NotEnoughDataError
from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales
from models.upgrades.forecast.margins import (
    POOLED,
    MarginTable,
    StartedTasks,
    conformal_margins,
    margin_table,
    tasks_needed,
)
from models.upgrades.history import History
from models.upgrades.splits import Rows


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
        table: MarginTable,
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
    started = StartedTasks(
        start_s=history.seconds("start_s")[stream],
        end_s=history.seconds("end_s")[stream],
        log_s=np.log(history.seconds("duration_s")[stream].astype(float)),
        is_censored=history.is_censored[stream],
        log_q=log_q,
    )
    last_s = int(features.decision_s.max())
    table = margin_table(started, X.codes("type"), last_s, levels, config)
    first = np.isin(stream, completed)
    scores = started.log_s[first, None] - log_q[first]
    shifted = log_q[first] + conformal_margins(scores, levels)
    tails = tail_scales(started.log_s[first], shifted[:, 0], shifted[:, -1])
    return CalibratedModel(model, config.levels, table, tails, features.categories["type"])

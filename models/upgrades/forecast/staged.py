"""Refitted forecasters: every decision uses the fits made before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.contributions import Contributions
from models.upgrades.forecast.distribution import QuantileGrid


class StagedModel(GridForecaster):
    """A forecaster fitted again as history grew; a decision sees the mean of earlier fits.

    Fits are made at given instants on what had ended by then, as a nightly job would. The
    errors that a conformal margin is measured on are thereby those of forecasts that were
    really made, not those of a later fit on its own past. Log quantiles are averaged over
    the fits: on LANL the newest alone was a little better, on Grid'5000, where an unusual
    month preceded the cut, it was worse than the oldest; the mean was near the better one
    on both (docs/decisions/upgrades-forecast.md).
    """

    def __init__(
        self, stages: Sequence[tuple[int, GridForecaster]], levels: Sequence[float]
    ) -> None:
        """Take the fits.

        Args:
            stages: Instant in seconds of the local clock from which a fit is known, and the
                fit; rising. Decisions before the first use the first.
            levels: Quantile levels of the grid.
        """
        self.name = stages[0][1].name
        self.levels = np.asarray(levels, dtype=float)
        self._from_s = np.array([from_s for from_s, _ in stages], dtype=np.int64)
        self._models = [model for _, model in stages]

    @property
    def fits(self) -> tuple[GridForecaster, ...]:
        """The fits, oldest first."""
        return tuple(self._models)

    def before_refits(self) -> StagedModel:
        """Return the same forecaster as if it had been fitted once."""
        return StagedModel([(int(self._from_s[0]), self._models[0])], self.levels.tolist())

    def fit(self, X: FeatureTable, duration_s: Floats, is_censored: Mask | None = None) -> Self:
        """Refuse: each stage was fitted on its own past.

        Raises:
            ConfigError: Always; build a new one (`build_forecaster`).
        """
        raise ConfigError(
            f"{self.name} holds fits of several instants and cannot be fitted as one; "
            "build a new forecaster"
        )

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return each task's mean quantiles over the fits known at its decision."""
        known = self._known(X)
        log_s = np.zeros((len(X), len(self.levels)))
        lower, upper = np.zeros(len(X)), np.zeros(len(X))
        for place, model in enumerate(self._models):
            rows = np.flatnonzero(known > place)
            if len(rows):
                part = model.grid(X.take(rows))
                log_s[rows] += part.log_s
                lower[rows] += part.lower_tail
                upper[rows] += part.upper_tail
        return QuantileGrid(self.levels, log_s / known[:, None], lower / known, upper / known)

    def contributions(self, X: FeatureTable, level: float) -> Contributions | None:
        """What each feature adds, the mean over the fits known at each decision."""
        known = self._known(X)
        log_s, bias = np.zeros((len(X), len(X.names))), np.zeros(len(X))
        nearest = level
        for place, model in enumerate(self._models):
            rows = np.flatnonzero(known > place)
            part = model.contributions(X.take(rows), level) if len(rows) else None
            if part is not None:
                log_s[rows] += part.log_s
                bias[rows] += part.bias_log_s
                nearest = part.level
            elif len(rows):
                return None
        return Contributions(nearest, log_s / known[:, None], bias / known)

    def _known(self, X: FeatureTable) -> NDArray[np.int64]:
        """Number of fits known at each decision, at least one."""
        return np.maximum(np.searchsorted(self._from_s, X.decision_s, "right"), 1)

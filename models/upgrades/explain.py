"""Why a forecast is what it is: what each feature adds to the quantile that is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats, GridForecaster


@dataclass(frozen=True)
class Explanation:
    """Forecast log quantiles of some tasks, taken apart.

    Attributes:
        level: Level of the quantile that is explained: that of the forecaster's grid which
            is nearest to the one asked for.
        names: Features, shape (n_features,).
        log_s: What each feature adds, log seconds, shape (n_tasks, n_features); e to its
            power is the factor by which it lengthens the forecast.
        bias_log_s: The forecast without any feature, log seconds, shape (n_tasks,).
    """

    level: float
    names: tuple[str, ...]
    log_s: Floats
    bias_log_s: Floats

    @property
    def quantile_log_s(self) -> Floats:
        """The explained log quantile, before conformal margins, shape (n_tasks,)."""
        return np.asarray(self.bias_log_s + self.log_s.sum(axis=1))

    @property
    def importance(self) -> Floats:
        """Mean absolute contribution of each feature, log seconds, shape (n_features,)."""
        return np.asarray(np.abs(self.log_s).mean(axis=0))


def explain(model: DurationModel, X: FeatureTable, level: float) -> Explanation | None:
    """Take the forecast quantile of each task apart by TreeSHAP.

    Where a forecaster was refitted, the contributions are the mean over the fits that each
    decision saw, as the forecast is. Conformal margins come on top and are not explained.

    Args:
        model: A fitted forecaster.
        X: Features of the tasks, at least one.
        level: Level of the quantile that is used, in (0, 1).

    Returns:
        None if the forecast is no sum over features: rules per type, mixtures, peers.
    """
    parts = model.contributions(X, level) if isinstance(model, GridForecaster) else None
    if parts is None:
        return None
    return Explanation(parts.level, X.names, parts.log_s, parts.bias_log_s)

"""Every forecaster by name, and how to fit and calibrate one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from models.errors import unknown_name
from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.conformal import calibrate
from models.upgrades.forecast.heuristics import GlobalQuantiles, TypeQuantiles
from models.upgrades.forecast.quantile_trees import QuantileTrees, SquaredErrorTrees
from models.upgrades.history import History
from models.upgrades.splits import Rows, Split


@dataclass(frozen=True)
class ForecasterSpec:
    """How to build one forecaster and how a policy uses it.

    Attributes:
        build: Makes the unfitted model.
        level: The quantile that its policy reserves; None where several compete.
        is_calibrated: Whether rolling conformal margins go on top.
        simplicity: Rank for ties: 0 is the simplest.
        is_capped: Whether its policy gives a whole window to a task that it thinks longer
            instead of refusing it. Without the cap the type P95 refuses three of four LANL
            tasks and its calendar completes 1,132 of the test tasks instead of 1,994: a
            straw man. The body P95 seldom asks for so much and is better without.
    """

    build: Callable[[UpgradeConfig], DurationModel]
    level: float | None
    is_calibrated: bool
    simplicity: int
    is_capped: bool = False


FORECASTERS: Mapping[str, ForecasterSpec] = {
    "global-p95": ForecasterSpec(
        lambda c: GlobalQuantiles(c.levels, "global-p95"), 0.95, False, 0, is_capped=True
    ),
    "type-p50": ForecasterSpec(lambda c: TypeQuantiles(c.levels, "type-p50"), 0.5, False, 1),
    "type-p95": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-p95"), 0.95, False, 1, is_capped=True
    ),
    "body-p95": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "body-p95", is_body=True), 0.95, False, 2
    ),
    "type-quantile": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-quantile"), None, True, 3
    ),
    "xgb-squared-error": ForecasterSpec(
        lambda c: SquaredErrorTrees(c.levels, c.trees, c.seed), 0.5, False, 4
    ),
    "xgb-quantile": ForecasterSpec(
        lambda c: QuantileTrees(c.levels, c.trees, c.seed), None, True, 5
    ),
}


def fit_forecaster(
    name: str, features: FeatureTable, history: History, rows: Rows, config: UpgradeConfig
) -> DurationModel:
    """Fit the forecaster `name` on `rows`, which must all have ended by the cut.

    Raises:
        UnknownNameError: No forecaster of that name.
        NotEnoughDataError: No rows to fit on.
    """
    if name not in FORECASTERS:
        raise unknown_name("forecaster", name, FORECASTERS)
    model = FORECASTERS[name].build(config)
    return model.fit(features.take(rows), history.seconds("duration_s")[rows].astype(float))


def build_forecaster(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> DurationModel:
    """Fit on the fit part and, where the forecaster is a calibrated one, calibrate.

    The model carries the digest of all that it was made from.
    """
    fitted = fit_forecaster(name, features, history, split.fit, config)
    model: DurationModel = fitted
    if FORECASTERS[name].is_calibrated:
        model = calibrate(fitted, features, history, split.calibrate, config)
    model.digest = _lineage(name, features, history, split, config)
    return model


def _lineage(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> str:
    state = hashlib.sha256()
    state.update("\x1e".join([name, history.digest, config.model_dump_json()]).encode())
    state.update("\x1f".join(features.names).encode())
    for array in (features.matrix, features.decision_s, split.fit, split.calibrate):
        state.update(array.tobytes())
    return state.hexdigest()

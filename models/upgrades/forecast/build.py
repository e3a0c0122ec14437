"""Every forecaster by name, and how to fit and calibrate one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from models.errors import unknown_name
from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.aft_trees import SurvivalTrees
from models.upgrades.forecast.base import GridForecaster
from models.upgrades.forecast.conformal import calibrate
from models.upgrades.forecast.heuristics import GlobalQuantiles, TypeQuantiles, TypeTrend
from models.upgrades.forecast.hurdle import HurdleTrees
from models.upgrades.forecast.kaplan_meier import TypeSurvival
from models.upgrades.forecast.peers import PEERS
from models.upgrades.forecast.quantile_trees import QuantileTrees, SquaredErrorTrees
from models.upgrades.forecast.staged import StagedModel
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
        is_candidate: Whether it competes for the plan. The others are baselines and ideas
            that did not pay (docs/decisions/upgrades-forecast.md); the benchmark shows them.
    """

    build: Callable[[UpgradeConfig], GridForecaster]
    level: float | None
    is_calibrated: bool
    simplicity: int
    is_capped: bool = False
    is_candidate: bool = True


FORECASTERS: Mapping[str, ForecasterSpec] = {
    "global-p95": ForecasterSpec(
        lambda c: GlobalQuantiles(c.levels, "global-p95"),
        *(0.95, False, 0),
        is_capped=True,
        is_candidate=False,
    ),
    "type-p50": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-p50"), 0.5, False, 1, is_candidate=False
    ),
    "type-p50x2": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-p50x2", factor=2.0),
        *(0.5, False, 1),
        is_candidate=False,
    ),
    "type-p90": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-p90"),
        *(0.9, False, 1),
        is_capped=True,
        is_candidate=False,
    ),
    "type-p95": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-p95"), 0.95, False, 1, is_capped=True
    ),
    "type-max": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "type-max", is_max=True),
        *(0.98, False, 1),
        is_capped=True,
        is_candidate=False,
    ),
    "type-ewma": ForecasterSpec(
        lambda c: TypeTrend(c.levels, "type-ewma"), 0.95, False, 2, is_candidate=False
    ),
    "type-survival": ForecasterSpec(
        lambda c: TypeSurvival(c.levels, "type-survival"),
        *(0.95, False, 2),
        is_capped=True,
        is_candidate=False,
    ),
    "body-p95": ForecasterSpec(
        lambda c: TypeQuantiles(c.levels, "body-p95", is_body=True), 0.95, False, 2
    ),
    "type-quantile": ForecasterSpec(
        lambda c: TypeSurvival(c.levels, "type-quantile"), None, True, 3
    ),
    "xgb-squared-error": ForecasterSpec(
        lambda c: SquaredErrorTrees(c.levels, c.trees, c.seed), 0.5, False, 4, is_candidate=False
    ),
    "xgb-aft": ForecasterSpec(lambda c: SurvivalTrees(c.levels, c.trees, c.seed), None, True, 5),
    "xgb-quantile": ForecasterSpec(
        lambda c: QuantileTrees(c.levels, c.trees, c.seed), None, True, 6
    ),
    "xgb-hurdle": ForecasterSpec(
        lambda c: HurdleTrees(c.levels, c.trees, c.seed), None, True, 7, is_candidate=False
    ),
}
CANDIDATES = tuple(name for name, spec in FORECASTERS.items() if spec.is_candidate)


def fit_forecaster(
    name: str, features: FeatureTable, history: History, rows: Rows, config: UpgradeConfig
) -> GridForecaster:
    """Fit a forecaster or peer on `rows`, which must all have ended by the cut.

    Raises:
        UnknownNameError: No forecaster of that name.
        NotEnoughDataError: No rows to fit on.
    """
    if name in FORECASTERS:
        model = FORECASTERS[name].build(config)
    elif name in PEERS:
        model = PEERS[name][1](config)
    else:
        raise unknown_name("forecaster", name, [*FORECASTERS, *PEERS])
    duration_s = history.seconds("duration_s")[rows].astype(float)
    return model.fit(features.take(rows), duration_s, history.is_censored[rows])


def build_forecaster(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> GridForecaster:
    """Fit, fit again when the test part begins, and calibrate where the forecaster asks.

    The model carries the digest of all that it was made from.
    """
    stages = fit_stages(name, features, history, split, config)
    if name in PEERS:
        return stages
    return calibrated(stages, FORECASTERS[name], features, history, split, config)


def fit_stages(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> StagedModel:
    """Fit on the fit part and, if `is_refitted`, on all that ended before the test part.

    Decisions before the test part see the first fit only. Nothing of the test part is
    fitted on.
    """
    first = fit_forecaster(name, features, history, split.fit, config)
    stages = [(split.calibrate_from_s, first)]
    if config.is_refitted:
        ended = np.flatnonzero(history.seconds("end_s") < split.test_from_s)
        latest = fit_forecaster(name, features, history, ended, config)
        stages.append((split.test_from_s, latest))
    model = StagedModel(stages, config.levels)
    model.digest = _lineage(name, features, history, split, config)
    return model


def calibrated(
    model: StagedModel,
    spec: ForecasterSpec,
    features: FeatureTable,
    history: History,
    split: Split,
    config: UpgradeConfig,
) -> GridForecaster:
    """Put margins on a fitted forecaster, if it is one that gets them."""
    if not spec.is_calibrated or config.margins == "none":
        return model
    with_margins = calibrate(model, features, history, split.calibrate, config)
    with_margins.digest = model.digest
    return with_margins


def _lineage(
    name: str, features: FeatureTable, history: History, split: Split, config: UpgradeConfig
) -> str:
    state = hashlib.sha256()
    state.update("\x1e".join([name, history.digest, config.model_dump_json()]).encode())
    state.update("\x1f".join(features.names).encode())
    for array in (features.matrix, features.decision_s, split.fit, split.calibrate, split.test):
        state.update(array.tobytes())
    return state.hexdigest()

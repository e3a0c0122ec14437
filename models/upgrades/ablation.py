"""What each part of the forecaster brings: one change at a time, judged by simulated cost.

A part stays only if it pays: its plan costs less on the select part, by more than one
standard error of the weekly difference to the variant before it. The test part is measured
beside it and has no say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.errors import ConfigError
from models.upgrades.cells import GRID_LEVEL
from models.upgrades.config import MarginName, UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.forecast.build import FORECASTERS, calibrated
from models.upgrades.forecast.conformal import CalibratedModel
from models.upgrades.forecast.staged import StagedModel
from models.upgrades.history import History
from models.upgrades.metrics import coverage, pinball_log_min
from models.upgrades.policy import Policy
from models.upgrades.select import PolicyScore, score_forecaster, standard_error
from models.upgrades.splits import Rows, Split


@dataclass(frozen=True)
class Variant:
    """A forecaster with some of its parts.

    Attributes:
        name: What it is called in the table.
        forecaster: A name of `FORECASTERS`.
        is_refitted: Whether it is fitted again before the test part.
        margins: Its conformal margins.
        against: Variant that differs in one part.
    """

    name: str
    forecaster: str
    is_refitted: bool
    margins: MarginName
    against: str | None


TREES = "trees, refitted, adaptive margins"
VARIANTS = (
    Variant("quantile trees alone", "xgb-quantile", False, "none", None),
    Variant("trees, refitted", "xgb-quantile", True, "none", "quantile trees alone"),
    Variant("trees, refitted, split margins", "xgb-quantile", True, "split", "trees, refitted"),
    Variant("trees, refitted, rolling margins", "xgb-quantile", True, "rolling", "trees, refitted"),
    Variant(
        "trees, refitted, margins by type",
        *("xgb-quantile", True, "by-type", "trees, refitted, rolling margins"),
    ),
    Variant(TREES, "xgb-quantile", True, "adaptive", against="trees, refitted, margins by type"),
    Variant("hurdle and tail instead of trees", "xgb-hurdle", True, "adaptive", TREES),
    Variant("failure time instead of trees", "xgb-aft", True, "adaptive", TREES),
    Variant("types instead of trees", "type-quantile", True, "adaptive", TREES),
)


def ablation_table(
    models: Mapping[str, DurationModel],
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> pd.DataFrame:
    """Take parts away from fitted forecasters: level 0.9, online, informed retries.

    Args:
        models: Fitted forecasters by name, those of `VARIANTS` among them.
        history: Canonical events.
        features: As-of features of the whole history.
        split: Parts.
        config: Windows, costs, models.

    Returns:
        Columns: variant, against, pinball (mean over the grid, log minutes), coverage_error
        (greatest miss over levels .5 to .95), type_error (mean miss over types of 200 tasks
        or more), test_completed, test_cancellation_rate, test_cost_per_task, select_saving
        (cost saved on the select part against `against`), standard_error, pays. A refit
        comes after the select part, which therefore cannot judge it.
    """
    scores: dict[str, tuple[PolicyScore, PolicyScore]] = {}
    rows = []
    for variant in VARIANTS:
        fitted = models[variant.forecaster]
        stages = fitted.base if isinstance(fitted, CalibratedModel) else fitted
        if not isinstance(stages, StagedModel):
            raise ConfigError(f"{variant.forecaster} is no refitted forecaster; build it first")
        own = config.model_copy(update={"margins": variant.margins})
        base = stages if variant.is_refitted else stages.before_refits()
        spec = FORECASTERS[variant.forecaster]
        model = calibrated(base, spec, features, history, split, own)
        policy = Policy(variant.forecaster, "online", GRID_LEVEL, is_informed=True)
        select, test = (
            score_forecaster(model, [policy], history, features, part, split, own)[0]
            for part in (split.select, split.test)
        )
        scores[variant.name] = (select, test)
        rows.append(
            {
                "variant": variant.name,
                "against": variant.against or "",
                **forecast_errors(model, history, features, split.test, config),
                "test_completed": test.metrics.completed,
                "test_cancellation_rate": test.metrics.cancellation_rate,
                "test_cost_per_task": test.metrics.cost_per_task,
                **_saving(variant, scores),
            }
        )
    return pd.DataFrame(rows)


def _saving(
    variant: Variant, scores: Mapping[str, tuple[PolicyScore, PolicyScore]]
) -> dict[str, float | bool | None]:
    before = {other.name: other for other in VARIANTS}.get(variant.against or "")
    if before is None or before.is_refitted != variant.is_refitted:
        return {"select_saving": None, "standard_error": None, "pays": None}
    own, other = scores[variant.name][0], scores[before.name][0]
    saving, error = other.metrics.cost - own.metrics.cost, standard_error(own, other)
    return {"select_saving": saving, "standard_error": error, "pays": saving > error}


def forecast_errors(
    model: DurationModel,
    history: History,
    features: FeatureTable,
    rows: Rows,
    config: UpgradeConfig,
    levels: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    type_min: int = 200,
) -> dict[str, float]:
    """Measure a forecaster on completed tasks: pinball, miss of coverage, miss per type.

    Args:
        model: A fitted forecaster.
        history: Canonical events.
        features: As-of features of the whole history.
        rows: Tasks to score; aborted ones are left out.
        config: Quantile levels of the pinball mean.
        levels: Levels of the coverage.
        type_min: Fewest tasks of a type whose coverage counts.
    """
    rows = rows[~history.is_censored[rows]]
    X = features.take(rows)
    duration_s = history.seconds("duration_s")[rows].astype(float)
    quantiles_s = model.quantiles(X, config.levels)
    pinball = [
        pinball_log_min(duration_s, quantiles_s[:, place], level)
        for place, level in enumerate(config.levels)
    ]
    covered = model.quantiles(X, levels)
    types = X.codes("type")
    frequent = [code for code in np.unique(types) if (types == code).sum() >= type_min]
    misses = [
        abs(coverage(duration_s[types == code], covered[types == code, place]) - level)
        for code in frequent
        for place, level in enumerate(levels)
    ]
    return {
        "pinball": float(np.mean(pinball)),
        "coverage_error": max(
            abs(coverage(duration_s, covered[:, place]) - level)
            for place, level in enumerate(levels)
        ),
        "type_error": float(np.mean(misses)) if misses else float("nan"),
    }

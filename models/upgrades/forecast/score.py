"""Score forecasts on the test part: pinball loss and coverage, trivial baselines beside ours."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel, Floats
from models.upgrades.forecast.conformal import CalibratedModel
from models.upgrades.history import History
from models.upgrades.metrics import coverage, pinball_log_min
from models.upgrades.splits import Rows

PINBALL_LEVELS = (0.5, 0.9, 0.95)
COVERAGE_LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
SCORED_LEVELS = tuple(sorted({*PINBALL_LEVELS, *COVERAGE_LEVELS}))
# Fewer tasks of a type say little: at 200 the standard error of a 0.9 coverage is 0.02.
MIN_TYPE_TASKS = 200


def forecast_table(
    history: History,
    features: FeatureTable,
    rows: Rows,
    models: Mapping[str, DurationModel],
) -> pd.DataFrame:
    """Score each forecaster on the completed tasks of `rows`, and on the planned of them.

    A calibrated forecaster is scored with and without its margins. Rules of thumb that
    share a distribution (type-p50, type-p95) score alike.

    Returns:
        Columns: model, rows ("all" or "planned"), n, pinball@tau in log minutes,
        coverage@tau.
    """
    rows = rows[~history.is_censored[rows]]
    scored: dict[str, DurationModel] = {}
    for name, model in models.items():
        if isinstance(model, CalibratedModel):
            scored[f"{name} (no margins)"] = model.base
        scored[name] = model
    planned = history.events["is_planned"].to_numpy(bool)
    table = [
        {"model": name, "rows": kind, **_score(model, history, features, part)}
        for kind, part in (("all", rows), ("planned", rows[planned[rows]]))
        if len(part) and not (kind == "planned" and len(part) == len(rows))
        for name, model in scored.items()
    ]
    return pd.DataFrame(table)


def coverage_by_type(
    history: History,
    features: FeatureTable,
    rows: Rows,
    models: Mapping[str, DurationModel],
) -> pd.DataFrame:
    """Coverage per type with at least `MIN_TYPE_TASKS` completed tasks among `rows`.

    Returns:
        Columns: model, type, n, coverage@tau.
    """
    rows = rows[~history.is_censored[rows]]
    types = history.labels("type")[rows]
    duration_s = history.seconds("duration_s")[rows].astype(float)
    table = []
    for name, model in models.items():
        quantiles_s = model.quantiles(features.take(rows), COVERAGE_LEVELS)
        for type_ in sorted(set(types)):
            mine = types == type_
            if mine.sum() < MIN_TYPE_TASKS:
                continue
            shares = {
                f"coverage@{level:g}": coverage(duration_s[mine], quantiles_s[mine, place])
                for place, level in enumerate(COVERAGE_LEVELS)
            }
            table.append({"model": name, "type": type_, "n": int(mine.sum()), **shares})
    columns = ["model", "type", "n", *(f"coverage@{level:g}" for level in COVERAGE_LEVELS)]
    return pd.DataFrame(table, columns=columns)


def _score(
    model: DurationModel, history: History, features: FeatureTable, rows: Rows
) -> dict[str, float]:
    duration_s = history.seconds("duration_s")[rows].astype(float)
    quantiles_s = model.quantiles(features.take(rows), SCORED_LEVELS)
    return {"n": len(rows), **forecast_scores(duration_s, quantiles_s)}


def forecast_scores(duration_s: Floats, quantiles_s: Floats) -> dict[str, float]:
    """Score quantile forecasts: pinball@tau in log minutes, coverage@tau.

    Args:
        duration_s: Actual durations, seconds, shape (n_tasks,).
        quantiles_s: Forecasts at `SCORED_LEVELS`, seconds, shape (n_tasks, n_levels).
    """
    at = dict(zip(SCORED_LEVELS, quantiles_s.T, strict=True))
    return {
        **{
            f"pinball@{level:g}": pinball_log_min(duration_s, np.asarray(at[level]), level)
            for level in PINBALL_LEVELS
        },
        **{
            f"coverage@{level:g}": coverage(duration_s, np.asarray(at[level]))
            for level in COVERAGE_LEVELS
        },
    }

"""Typed durations without start times: leave whole runs out, predict their tasks.

Workflow tasks have no clock, so nothing can be scheduled; what can be checked is whether
the forecasters tell durations of runs that they never saw.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from models.upgrades.config import UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats
from models.upgrades.forecast.build import FORECASTERS
from models.upgrades.forecast.peers import PEERS, installed_peers
from models.upgrades.forecast.score import SCORED_LEVELS, forecast_scores
from models.upgrades.history import TaskRuns

# Leaving out one run of hundreds at a time would fit hundreds of models; runs are dealt to
# so many groups and each group is left out whole.
GROUPS = 5
OURS = ("global-p95", "type-p95", "type-quantile", "xgb-aft", "xgb-quantile", "xgb-hurdle")


def static_features(runs: TaskRuns) -> FeatureTable:
    """Features of tasks without a history: categories and numbers known before the start."""
    categories, columns = {}, {}
    for name in runs.categories:
        codes, labels = pd.factorize(runs.tasks[name].to_numpy(object))
        categories[name] = tuple(str(label) for label in labels)
        columns[name] = codes.astype(float)
    for name in runs.numbers:
        columns[name] = runs.tasks[name].to_numpy(float)
    matrix = np.column_stack(list(columns.values())).astype(np.float32)
    return FeatureTable(matrix, tuple(columns), categories, np.zeros(len(runs), dtype=np.int64))


def leave_run_out_table(
    runs: TaskRuns, config: UpgradeConfig, tell: Callable[[str], None] = lambda step: None
) -> pd.DataFrame:
    """Score each forecaster on tasks of runs that it was not fitted on.

    Args:
        runs: Tasks of at least two runs.
        config: Levels, trees and seed (which also deals runs to groups).
        tell: Gets a few words before each fit.

    Returns:
        Columns: model, n, pinball@tau in log minutes, coverage@tau; margins are left out,
        since they need a clock.

    Raises:
        NotEnoughDataError: There is only one run.
    """
    folds = list(runs.folds())
    X = static_features(runs)
    duration_s = runs.tasks["runtime_s"].to_numpy(float)
    group_of = np.random.default_rng(config.seed).permutation(len(folds)) % min(GROUPS, len(folds))
    builders = {name: FORECASTERS[name].build for name in OURS}
    builders |= {name: PEERS[name][1] for name in installed_peers()}
    rows = []
    for name, build in builders.items():
        predicted: Floats = np.empty((len(runs), len(SCORED_LEVELS)))
        for group in np.unique(group_of):
            tell(f"{name}: group {group + 1} of {group_of.max() + 1}")
            out = np.concatenate([folds[place].test for place in np.flatnonzero(group_of == group)])
            rest = np.setdiff1d(np.arange(len(runs)), out)
            model = build(config).fit(X.take(rest), duration_s[rest])
            predicted[out] = model.quantiles(X.take(out), SCORED_LEVELS)
        rows.append({"model": name, "n": len(runs), **forecast_scores(duration_s, predicted)})
    return pd.DataFrame(rows)

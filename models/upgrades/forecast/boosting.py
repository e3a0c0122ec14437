"""What all boosted trees share: the data matrix, unseen categories, one thread.

One thread, always: xgboost's histograms are then bit-equal on any machine with any number
of workers, and two OpenMP threads on a busy machine were seven times slower than one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.upgrades.config import TreeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats

SeenCodes = Mapping[str, NDArray[np.int64]]


def seen_codes(X: FeatureTable) -> SeenCodes:
    """Return the codes of each categorical column that the fit saw."""
    return {name: np.unique(X.codes(name)) for name in X.categories}


def dmatrix(
    X: FeatureTable,
    seen: SeenCodes,
    label: Floats | None = None,
    weight: Floats | None = None,
    bounds: tuple[Floats, Floats] | None = None,
) -> Any:
    """Build xgboost's matrix; a category that the fit never saw is unknown, not a new branch.

    Args:
        X: Features.
        seen: Codes that the fit saw, by column.
        label: Log seconds, shape (n_tasks,).
        weight: Weight of each task, shape (n_tasks,).
        bounds: Least and greatest duration in seconds (infinite where aborted), each of
            shape (n_tasks,); for accelerated failure time.
    """
    import xgboost

    matrix = X.matrix.copy()
    for name, codes in seen.items():
        column = X.names.index(name)
        matrix[~np.isin(X.codes(name), codes), column] = np.nan
    data = xgboost.DMatrix(
        matrix,
        label=label,
        weight=weight,
        feature_names=list(X.names),
        feature_types=["c" if name in X.categories else "q" for name in X.names],
        enable_categorical=True,
        nthread=1,
    )
    if bounds is not None:
        data.set_float_info("label_lower_bound", bounds[0])
        data.set_float_info("label_upper_bound", bounds[1])
    return data


def boost(data: Any, objective: Mapping[str, Any], trees: TreeConfig, seed: int) -> Any:
    """Train a booster of the configured size."""
    import xgboost

    parameters = {
        **objective,
        "tree_method": "hist",
        "max_depth": trees.depth,
        "eta": trees.learning_rate,
        "min_child_weight": trees.min_child_weight,
        "subsample": trees.row_share,
        "colsample_bytree": trees.feature_share,
        "nthread": 1,
        "seed": seed,
    }
    return xgboost.train(parameters, data, num_boost_round=trees.n_trees)


def predict(booster: Any, X: FeatureTable, seen: SeenCodes, n: int) -> Floats:
    """Predict `n` numbers per task, shape (n_tasks, n)."""
    predicted = booster.predict(dmatrix(X, seen))
    return np.asarray(predicted, dtype=float).reshape(len(X), n)


def tree_contributions(booster: Any, X: FeatureTable, seen: SeenCodes, n: int) -> Floats:
    """What each feature adds to each of the `n` numbers that `predict` gives.

    Shape (n_tasks, n, n_features + 1), the last column being the bias; sums over it are the
    predictions before any link function.
    """
    parts = booster.predict(dmatrix(X, seen), pred_contribs=True)
    return np.asarray(parts, dtype=float).reshape(len(X), n, len(X.names) + 1)

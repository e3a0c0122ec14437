"""Quantile forecasters of other libraries, to compare with on the same features and budget.

scikit-learn is always there; LightGBM, CatBoost, MAPIE and crepes come with the extra
`peers`. Each has as many trees of the same depth and learning rate as ours, one thread, and
the calibration that its library offers: none of ours.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from models.upgrades.config import TreeConfig, UpgradeConfig
from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, GridForecaster, Mask
from models.upgrades.forecast.boosting import seen_codes
from models.upgrades.forecast.distribution import QuantileGrid, rearranged, tail_scales

# The latest share of the fit rows that conformal peers calibrate on.
CALIBRATION_SHARE = 0.2
# scikit-learn bins a category by its code and has 255 bins.
SKLEARN_CODES = 255


@contextmanager
def _quiet() -> Iterator[None]:
    """MAPIE tells the root logger of crossing pairs; rows are sorted afterwards."""
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(before)


def _one_thread() -> AbstractContextManager[Any]:
    import sklearn.ensemble  # noqa: F401  limits reach only what is loaded by then
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


class Peer(GridForecaster):
    """A forecaster of another library: subclasses fit and predict log quantiles."""

    def __init__(self, levels: Sequence[float], trees: TreeConfig, seed: int) -> None:
        self.levels = np.asarray(levels, dtype=float)
        self.trees = trees
        self.seed = seed

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._seen = seen_codes(X)
        with _one_thread():
            self._train(self._matrix(X), log_s, X)
        fitted = self.grid(X).log_s
        self._tails = tail_scales(log_s, fitted[:, 0], fitted[:, -1])

    _tails = (1.0, 1.0)

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the library's quantiles, sorted."""
        with _one_thread():
            log_s = self._predict(self._matrix(X), X)
        return QuantileGrid(self.levels, rearranged(log_s), *self._tails)

    def _matrix(self, X: FeatureTable) -> Floats:
        """Features as floats; a category that the fit never saw is missing."""
        matrix = X.matrix.astype(float)
        for name, codes in self._seen.items():
            column = X.names.index(name)
            matrix[~np.isin(X.codes(name), codes), column] = np.nan
        return matrix

    def _categorical(self, X: FeatureTable, most: int | None = None) -> list[int]:
        return [
            X.names.index(name)
            for name, labels in X.categories.items()
            if most is None or len(labels) < most
        ]

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        raise NotImplementedError

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        raise NotImplementedError

    def _sklearn(self, X: FeatureTable, level: float | None) -> Any:
        from sklearn.ensemble import HistGradientBoostingRegressor

        return HistGradientBoostingRegressor(
            loss="squared_error" if level is None else "quantile",
            quantile=level,
            max_iter=self.trees.n_trees,
            max_depth=self.trees.depth,
            learning_rate=self.trees.learning_rate,
            categorical_features=self._categorical(X, SKLEARN_CODES),
            early_stopping=False,
            random_state=self.seed,
        )


class SklearnQuantiles(Peer):
    """scikit-learn's histogram gradient boosting, one model per level."""

    name = "sklearn-quantile"

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        self._models = [self._sklearn(X, level).fit(matrix, log_s) for level in self.levels]

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        return np.column_stack([model.predict(matrix) for model in self._models])


class LightGbmQuantiles(Peer):
    """LightGBM, one model per level."""

    name = "lightgbm-quantile"

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        import lightgbm

        categorical = self._categorical(X)
        self._models = [
            lightgbm.train(
                {
                    "objective": "quantile",
                    "alpha": float(level),
                    "max_depth": self.trees.depth,
                    "num_leaves": 2**self.trees.depth,
                    "learning_rate": self.trees.learning_rate,
                    "min_data_in_leaf": 20,
                    "num_threads": 1,
                    "seed": self.seed,
                    "verbosity": -1,
                },
                lightgbm.Dataset(matrix, log_s, categorical_feature=categorical),
                num_boost_round=self.trees.n_trees,
            )
            for level in self.levels
        ]

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        return np.column_stack([model.predict(matrix, num_threads=1) for model in self._models])


class CatBoostQuantiles(Peer):
    """CatBoost's multi-quantile loss, one model for all levels."""

    name = "catboost-quantile"

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        import catboost

        levels = ",".join(f"{level:g}" for level in self.levels)
        self._model = catboost.CatBoostRegressor(
            loss_function=f"MultiQuantile:alpha={levels}",
            iterations=self.trees.n_trees,
            depth=self.trees.depth,
            learning_rate=self.trees.learning_rate,
            random_seed=self.seed,
            thread_count=1,
            verbose=False,
            allow_writing_files=False,
        )
        self._model.fit(self._pool(matrix, X, log_s))

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        predicted = self._model.predict(self._pool(matrix, X), thread_count=1)
        return np.asarray(predicted, dtype=float).reshape(len(X), len(self.levels))

    def _pool(self, matrix: Floats, X: FeatureTable, label: Floats | None = None) -> Any:
        import catboost
        import pandas as pd

        frame = pd.DataFrame(matrix)
        categorical = self._categorical(X)
        for column in categorical:
            frame[column] = frame[column].fillna(-1).astype(int)
        return catboost.Pool(frame, label, cat_features=categorical)


class CrepesSystem(Peer):
    """crepes' conformal predictive system, Mondrian by type, on squared-error boosting."""

    name = "crepes-system"

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        from crepes import ConformalPredictiveSystem

        cut = int(len(log_s) * (1 - CALIBRATION_SHARE))
        self._model = self._sklearn(X, None).fit(matrix[:cut], log_s[:cut])
        residuals = log_s[cut:] - self._model.predict(matrix[cut:])
        counts = np.bincount(X.codes("type")[cut:])
        # A type with too few residuals shares those of all.
        self._own = np.flatnonzero(counts >= 2 / (1 - self.levels.max()))
        self._system = ConformalPredictiveSystem().fit(
            residuals, bins=self._bins(X.take(np.arange(cut, len(X)))), seed=self.seed
        )

    def _bins(self, X: FeatureTable) -> Any:
        codes = X.codes("type")
        return np.where(np.isin(codes, self._own), codes, -1)

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        with warnings.catch_warnings():
            # It warns of bins that are too small for a level; they are dealt with below.
            warnings.simplefilter("ignore", UserWarning)
            predicted = self._system.predict_percentiles(
                self._model.predict(matrix),
                bins=self._bins(X),
                higher_percentiles=(100 * self.levels).tolist(),
            )
        # A bin with too few residuals for a level answers infinity.
        longest = np.nanmax(np.where(np.isfinite(predicted), predicted, np.nan))
        return np.clip(np.asarray(predicted, dtype=float), -longest, longest)


class MapieIntervals(Peer):
    """MAPIE's conformalised quantile regression: intervals of 20 to 90 % and the median."""

    name = "mapie-cqr"

    def _train(self, matrix: Floats, log_s: Floats, X: FeatureTable) -> None:
        from mapie.regression import ConformalizedQuantileRegressor

        cut = int(len(log_s) * (1 - CALIBRATION_SHARE))
        self._intervals = []
        for inside in (0.2, 0.4, 0.6, 0.8, 0.9):
            low = round((1 - inside) / 2, 6)
            parts = [
                self._sklearn(X, level).fit(matrix[:cut], log_s[:cut])
                for level in (low, round(1 - low, 6), 0.5)
            ]
            model = ConformalizedQuantileRegressor(parts, confidence_level=inside, prefit=True)
            with _quiet():
                model.conformalize(matrix[cut:], log_s[cut:])
            self._intervals.append((low, model))

    def _predict(self, matrix: Floats, X: FeatureTable) -> Floats:
        known: dict[float, Floats] = {}
        for low, model in self._intervals:
            with _quiet():
                middle, edges = model.predict_interval(matrix)
            known[low], known[round(1 - low, 6)] = edges[:, 0, 0], edges[:, 1, 0]
            known[0.5] = middle
        at = np.array(sorted(known))
        table = np.sort(np.column_stack([known[level] for level in at]), axis=1)
        # Straight lines between its levels; beyond them the outermost pair goes on.
        place = np.clip(np.searchsorted(at, self.levels) - 1, 0, len(at) - 2)
        share = (self.levels - at[place]) / (at[place + 1] - at[place])
        return np.asarray(table[:, place] + share * (table[:, place + 1] - table[:, place]))


PEERS: Mapping[str, tuple[str, Callable[[UpgradeConfig], GridForecaster]]] = {
    "sklearn-quantile": ("sklearn", lambda c: SklearnQuantiles(c.levels, c.trees, c.seed)),
    "lightgbm-quantile": ("lightgbm", lambda c: LightGbmQuantiles(c.levels, c.trees, c.seed)),
    "catboost-quantile": ("catboost", lambda c: CatBoostQuantiles(c.levels, c.trees, c.seed)),
    "crepes-system": ("crepes", lambda c: CrepesSystem(c.levels, c.trees, c.seed)),
    "mapie-cqr": ("mapie", lambda c: MapieIntervals(c.levels, c.trees, c.seed)),
}
"""Module that must be importable, and how to build the forecaster."""


def installed_peers() -> tuple[str, ...]:
    """Names of the peers whose library is installed."""
    return tuple(
        name for name, (module, _) in PEERS.items() if importlib.util.find_spec(module) is not None
    )

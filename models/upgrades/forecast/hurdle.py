"""Hurdle: will it straggle, and if not how long; the tail is priced, not learnt."""

from __future__ import annotations

import numpy as np

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import Floats, Mask
from models.upgrades.forecast.boosting import boost, dmatrix, predict, seen_codes
from models.upgrades.forecast.distribution import LEAST_TAIL, QuantileGrid, rearranged
from models.upgrades.forecast.heuristics import straggler_fences
from models.upgrades.forecast.quantile_trees import BoostedTrees, QuantileTrees

# Probabilities of straggling are kept off 0 and 1: each task has a body and a tail.
LEAST_SHARE = 1e-3


class HurdleTrees(BoostedTrees):
    """P(straggler) by boosted trees, quantile trees for the body, a Pareto tail for the rest.

    A straggler lies beyond the upper fence of its type (`straggler_fences`); its excess over
    the fence is exponential in log seconds, a Pareto tail of the duration.
    """

    name = "xgb-hurdle"

    def _learn(self, X: FeatureTable, log_s: Floats, is_censored: Mask) -> None:
        self._seen = seen_codes(X)
        codes = X.codes("type")
        self._fences = straggler_fences(codes, log_s)
        fence = self.fences(X)
        straggles = log_s > fence
        data = dmatrix(X, self._seen, label=straggles.astype(float))
        self._hurdle = boost(data, {"objective": "binary:logistic"}, self.trees, self.seed)
        body = np.flatnonzero(~straggles)
        self._body = QuantileTrees(self.levels.tolist(), self.trees, self.seed)
        self._body.fit(X.take(body), np.exp(log_s[body]))
        excess = (log_s - fence)[straggles]
        self._scale = max(float(excess.mean()) if len(excess) else 0.0, LEAST_TAIL)

    def fences(self, X: FeatureTable) -> Floats:
        """Log seconds beyond which each task is a straggler, shape (n_tasks,)."""
        pooled = self._fences[None]
        return np.array([self._fences.get(int(code), pooled) for code in X.codes("type")])

    def grid(self, X: FeatureTable) -> QuantileGrid:
        """Return the mixture's quantiles: the body up to 1 - P(straggler), then the tail."""
        share = predict(self._hurdle, X, self._seen, 1)
        share = np.clip(share, LEAST_SHARE, 1 - LEAST_SHARE)
        body = self._body.grid(X)
        in_body = np.clip(self.levels / (1 - share), LEAST_SHARE, 1 - LEAST_SHARE)
        fence = self.fences(X)[:, None]
        inside = np.minimum(np.log(body.quantile(in_body)), fence)
        beyond = fence - self._scale * np.log(np.minimum((1 - self.levels) / share, 1.0))
        log_s = np.where(self.levels <= 1 - share, inside, beyond)
        return QuantileGrid(self.levels, rearranged(log_s), body.lower_tail, self._scale)

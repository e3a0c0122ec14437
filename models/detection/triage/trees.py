"""Boosted trees as arrays: fitted by XGBoost, evaluated without it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trees:
    """Trees of one depth, each a heap of nodes.

    Attributes:
        features, cuts: Of inner nodes, shape (trees, 2 ** depth - 1); left is below the cut.
        leaves: Shape (trees, 2 ** depth).
        base: Log odds before any tree.
    """

    features: NDArray[np.int64]
    cuts: NDArray[np.float64]
    leaves: NDArray[np.float64]
    base: float

    def chance(self, row: Sequence[float]) -> float:
        """Return the chance that the trees give to a row of features, in [0, 1]."""
        # XGBoost compares as 32-bit floats.
        values = np.asarray(row, dtype=np.float32)
        trees = np.arange(len(self.leaves))
        node = np.zeros(len(trees), dtype=np.int64)
        inner = self.features.shape[1]
        while node[0] < inner:
            is_right = values[self.features[trees, node]] >= self.cuts[trees, node]
            node = 2 * node + 1 + is_right
        logit = self.base + float(self.leaves[trees, node - inner].sum())
        return float(1 / (1 + np.exp(-logit)))

    def to_dict(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "features": self.features.tolist(),
            "cuts": [[None if np.isinf(c) else float(c) for c in row] for row in self.cuts],
            "leaves": np.round(self.leaves, 6).tolist(),
            "base": self.base,
        }

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Trees:
        """Read what `to_dict` gave."""
        cuts = [[np.inf if c is None else c for c in row] for row in values["cuts"]]
        return Trees(
            np.asarray(values["features"], dtype=np.int64),
            np.asarray(cuts, dtype=np.float32).astype(np.float64),
            np.asarray(values["leaves"], dtype=np.float64),
            float(values["base"]),
        )


def fit_trees(
    rows: NDArray[np.float64],
    truth: NDArray[np.bool_],
    signs: Sequence[int],
    weights: NDArray[np.float64] | None = None,
    *,
    trees: int = 120,
    depth: int = 3,
) -> Trees:
    """Fit trees whose chance only rises, or only falls, with a feature.

    Args:
        rows: Shape (n, features).
        truth: Shape (n,).
        signs: Per feature 1: rises, -1: falls, 0: either.
        weights: Of rows; None: equal.
        trees: Number of trees.
        depth: Questions that each asks of a row.
    """
    import xgboost

    model = xgboost.XGBClassifier(
        n_estimators=trees, max_depth=depth, learning_rate=0.1, n_jobs=1, reg_lambda=5,
        min_child_weight=5, monotone_constraints=tuple(signs), base_score=0.5, random_state=0,
    )  # fmt: skip
    model.fit(rows, truth, sample_weight=weights)
    dumped = model.get_booster().get_dump(dump_format="json")
    inner = 2**depth - 1
    features = np.zeros((len(dumped), inner), dtype=np.int64)
    cuts = np.full((len(dumped), inner), np.inf)
    leaves = np.zeros((len(dumped), inner + 1))
    for number, text in enumerate(dumped):
        _unfold(json.loads(text), 0, inner, features[number], cuts[number], leaves[number])
    return Trees(features, cuts.astype(np.float32).astype(np.float64), leaves, 0.0)


def _unfold(
    node: dict[str, Any],
    at: int,
    inner: int,
    features: NDArray[np.int64],
    cuts: NDArray[np.float64],
    leaves: NDArray[np.float64],
) -> None:
    if "leaf" in node:
        # A leaf above the last level: all that is below it is the same.
        first, last = at, at
        while first < inner:
            first, last = 2 * first + 1, 2 * last + 2
        leaves[first - inner : last - inner + 1] = node["leaf"]
        return
    features[at] = int(str(node["split"]).removeprefix("f"))
    cuts[at] = node["split_condition"]
    below = {child["nodeid"]: child for child in node["children"]}
    _unfold(below[node["yes"]], 2 * at + 1, inner, features, cuts, leaves)
    _unfold(below[node["no"]], 2 * at + 2, inner, features, cuts, leaves)

"""How sure a named limit is: a logistic of its margin, fitted on injected profiles."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.errors import NotEnoughDataError
from models.sharding.diagnosis.base import MATERIAL, Counterfactual, Kind

_FEWEST = 50


class Calibration(NamedTuple):
    """Weights of the features of `features`."""

    weights: tuple[float, ...]


FITTED = Calibration((0.182, 1.475, 1.814, 1.722, 0.019, 0.743))
"""`bench_diagnosis.train_confidence(range(1000, 1005))`, seeds that no report uses."""


def features(kind: Kind, ranked: Sequence[Counterfactual]) -> NDArray[np.float64]:
    """Return what the confidence of a named kind depends on, shape (6,).

    One; the log of its saving over the largest; how far the largest of the others (but computing)
    lies below it, in logs; how far it is from being immaterial, in logs; whether its seconds
    come from the cost model; whether computing is what is named.

    Args:
        kind: The named kind.
        ranked: All counterfactuals.
    """
    shares = {one.kind: max(one.share, 1e-3) for one in ranked}
    others = [share for other, share in shares.items() if other not in (kind, "compute")]
    largest = max([*others, 1e-3])
    is_compute = kind == "compute"
    own = MATERIAL if is_compute else shares[kind]
    modelled = next(one.trust for one in ranked if one.kind == kind) == "modelled"
    ahead = math.log(own / largest)
    clear = 0.0 if is_compute else math.log(own / MATERIAL)
    return np.array(
        [
            1.0,
            min(ahead, 0.0),
            float(np.clip(ahead, 0.0, 1.5)),
            min(clear, 1.5),
            float(modelled),
            float(is_compute),
        ]
    )


def confidence(
    kind: Kind, ranked: Sequence[Counterfactual], calibration: Calibration = FITTED
) -> float:
    """Return the chance that a named kind is among what costs the most."""
    score = float(features(kind, ranked) @ np.array(calibration.weights))
    return 1 / (1 + math.exp(-float(np.clip(score, -30, 30))))


def fit_confidence(rows: Sequence[NDArray[np.float64]], is_right: Sequence[bool]) -> Calibration:
    """Fit the weights on named kinds of profiles whose labels are known.

    Args:
        rows: `features` of each named kind.
        is_right: Whether it is among the labels.

    Raises:
        NotEnoughDataError: Fewer than 50 named kinds, or all right or all wrong.
    """
    if len(rows) < _FEWEST or len(set(is_right)) < 2:
        raise NotEnoughDataError(
            f"a confidence needs {_FEWEST} named limits, right and wrong ones, got {len(rows)}; "
            "generate more profiles"
        )
    x, y = np.stack(list(rows)), np.array(is_right, dtype=float)

    def loss(weights: NDArray[np.float64]) -> float:
        score = np.clip(x @ weights, -30, 30)
        likely = np.log1p(np.exp(score)) - y * score
        # A small ridge: a feature that is always zero must not run away.
        return float(likely.mean() + 1e-3 * (weights[1:] ** 2).sum())

    found = minimize(loss, np.zeros(x.shape[1]), method="L-BFGS-B").x
    return Calibration(tuple(round(float(weight), 3) for weight in found))


def calibration_error(
    chances: Sequence[float], is_right: Sequence[bool], bins: int = 10
) -> float | None:
    """Return the expected calibration error over equally wide bins; None without rows.

    Source: Guo et al. (2017), "On Calibration of Modern Neural Networks".
    """
    if not chances:
        return None
    p, y = np.array(chances), np.array(is_right, dtype=float)
    places = np.minimum((p * bins).astype(int), bins - 1)
    total = 0.0
    for place in range(bins):
        mine = places == place
        if mine.any():
            total += mine.mean() * abs(float(y[mine].mean() - p[mine].mean()))
    return float(total)

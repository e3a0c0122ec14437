"""Best so far against shots, and what of it is told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sharding.shots.truths import Truth
from models.sharding.shots.tuner import Tuner

TARGET = 0.99
"""Share of the oracle's speed at which a layout counts as found."""


@dataclass(frozen=True)
class ShotsCurve:
    """One tuner on one truth."""

    best: tuple[float, ...]
    """Speed of the best so far over the oracle's after each shot; 0: nothing ran yet."""
    rows: tuple[int, ...]
    """What was run, in order."""

    def shots_to(self, target: float = TARGET) -> int | None:
        """Return the shots until the target is reached; None: not within the curve."""
        return shots_to(self.best, target)


def run_shots(tuner: Tuner, truth: Truth, budget: int, target: float = TARGET) -> ShotsCurve:
    """Let a tuner shoot until the target is reached or the budget is spent.

    Args:
        tuner: Asks and is told.
        truth: Answers.
        budget: Most shots; failed runs count.
        target: Share of the oracle's speed at which to stop.
    """
    best = 0.0
    curve: list[float] = []
    rows: list[int] = []
    while len(curve) < budget and best < target:
        row = tuner.ask()
        if row is None:
            break
        seconds = truth.shoot(row)
        tuner.tell(row, seconds)
        if seconds is not None:
            best = max(best, truth.oracle_s / seconds)
        curve.append(best)
        rows.append(row)
    return ShotsCurve(tuple(curve), tuple(rows))


def shots_to(best: Sequence[float], target: float = TARGET) -> int | None:
    """Return the position, from 1, at which a curve reaches the target; None: it does not."""
    return next((shot for shot, share in enumerate(best, start=1) if share >= target), None)


def share_after(best: Sequence[float], shot: int) -> float:
    """Return the share after a number of shots; a curve that stopped keeps its last."""
    return best[min(shot, len(best)) - 1] if best else 0.0


def shots_quantile(shots: Sequence[int | None], level: float) -> float:
    """Return a quantile, the next higher observation; infinite where it was not reached."""
    values = sorted(math.inf if one is None else one for one in shots)
    return values[min(max(math.ceil(level * len(values)) - 1, 0), len(values) - 1)]


def bootstrap(
    groups: Sequence[Sequence[int | None]], level: float, seed: int, draws: int = 1_000
) -> tuple[float, float]:
    """Return the 95 % interval of a quantile of shots.

    Args:
        groups: Shots of each scenario; scenarios are drawn, as their seeds share one truth.
        level: Of the quantile.
        seed: Of the draws.
        draws: How many.
    """
    random = np.random.default_rng(seed)
    found: NDArray[np.float64] = np.array(
        [
            shots_quantile([n for i in picked for n in groups[i]], level)
            for picked in random.integers(len(groups), size=(draws, len(groups)))
        ]
    )
    found.sort()
    return float(found[int(0.025 * draws)]), float(found[math.ceil(0.975 * draws) - 1])

"""Which layouts experts choose: a logit over the meshes that fit, learned from published rows.

The time model says what is fast on paper; trainers have habits and limits besides (what their
kernels overlap, what is tested). Each published row is one choice among all meshes of its job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.meshes import Meshes, all_meshes, place_of
from models.sharding.propose import mesh_keys
from models.sharding.published import Published
from models.sharding.traits import traits

Floats = NDArray[np.float64]
RIDGES = (0.1, 0.3, 1.0, 3.0)
"""Pulls of all weights to zero; the shares that they give are averaged."""
_ROUNDS = 150
_SLOWEST = {"tpu": 1.3, "gpu": 1.6}
"""Predicted time over the fastest from which a mesh is no habit worth following. On GPUs experts'
layouts are predicted up to half slower than the fastest: our model errs more there."""
_LEAST = 1e-12
"""Chance of what was never chosen: logs stay finite."""


class Choice(NamedTuple):
    """One published row as a choice."""

    kind: str
    """Kind of chip."""
    group: tuple[str, str]
    """Model family and chip."""
    traits: Floats
    """Shape (n_meshes, n_traits)."""
    chosen: int
    """Which mesh the experts took."""
    same: tuple[object, ...]
    """Model, slice and mesh: rows that repeat them share one vote."""


class Fit(NamedTuple):
    """Weights of the traits for one kind of chip."""

    scale: Floats
    """Spread of each trait in training, shape (n_traits,)."""
    weights: Floats
    """Shape (n_ridges, n_traits)."""


@dataclass(frozen=True)
class Conventions:
    """How likely experts are to choose each mesh, by kind of chip."""

    fits: Mapping[str, Fit]

    def shares(self, meshes: Meshes, job: Job) -> Floats | None:
        """Return the chance of each mesh, shape (n_meshes,); None: nothing is known of the kind.

        Chances add up to 1 over the meshes that are given.
        """
        fit = self.fits.get(job.place.chip.kind)
        if fit is None or meshes.table.size == 0 or not job.workload.is_training:
            return None
        worth = (traits(meshes, job) / fit.scale) @ fit.weights.T
        slowest = meshes.log_s.min() + np.log(_SLOWEST[job.place.chip.kind])
        worth = np.where((meshes.log_s <= slowest)[:, None], worth, -np.inf)
        raised = np.exp(worth - worth.max(axis=0))
        chances: Floats = (raised / raised.sum(axis=0)).mean(axis=1)
        return chances

    def order(self, meshes: Meshes, job: Job) -> NDArray[np.intp]:
        """Return positions of meshes, the most usual first; the fastest where nothing is known."""
        shares = self.shares(meshes, job)
        score = meshes.log_s if shares is None else -shares
        return np.argsort(score, kind="stable")

    def prior(self, table: LayoutTable, job: Job) -> Floats:
        """Return what `propose` adds to log times so that the most usual mesh comes first.

        Minus the log of a mesh's chance among all meshes of the job, whatever part of them is
        asked about, and minus the log of its fastest time: within a mesh the fastest layout stays
        first. A mesh of which nothing fits counts as the least usual; zeros where nothing is known.
        """
        meshes = all_meshes(job)
        shares = self.shares(meshes, job)
        if shares is None:
            return np.zeros(table.size)
        known = mesh_keys(meshes.table, job).tolist()
        costs = -np.log(shares + _LEAST) - meshes.log_s
        by_mesh = dict(zip(map(tuple, known), costs.tolist(), strict=True))
        worst = -float(np.log(_LEAST) + meshes.log_s.min())
        unique, back = np.unique(mesh_keys(table, job), axis=0, return_inverse=True)
        values = np.array([by_mesh.get(tuple(key), worst) for key in unique.tolist()])
        prior: Floats = values[back.reshape(-1)]
        return prior


def choice_of(row: Published, meshes: Meshes) -> Choice | None:
    """Return a row as a choice among meshes; None: its own mesh is not among them."""
    key = mesh_keys(LayoutTable.of([row.layout]), row.job)[0]
    chosen = place_of(meshes, row.job, key)
    if chosen is None:
        return None
    same = (row.job.model.name, row.job.place.text(), row.job.place.pods, *key.tolist())
    return Choice(row.job.place.chip.kind, row.group, traits(meshes, row.job), chosen, same)


def learn_conventions(rows: Sequence[Published]) -> Conventions:
    """Learn from published rows; those of serving and those that should not fit teach nothing."""
    choices = [choice_of(row, all_meshes(row.job)) for row in rows]
    return fit_conventions([one for one in choices if one is not None])


def fit_conventions(choices: Sequence[Choice], ridges: Sequence[float] = RIDGES) -> Conventions:
    """Fit a conditional logit per kind of chip; kinds without choices stay unknown.

    Source: McFadden (1974), "Conditional logit analysis of qualitative choice behavior".
    """
    fits = {}
    for kind in sorted({one.kind for one in choices}):
        mine = [one for one in choices if one.kind == kind]
        spread = np.concatenate([one.traits for one in mine]).std(axis=0)
        # The weight of what never varies stays 0.
        scale = np.where(spread > 1e-9, spread, 1.0)
        fits[kind] = Fit(scale, np.stack([_weights(mine, scale, ridge) for ridge in ridges]))
    return Conventions(fits)


def _weights(choices: Sequence[Choice], scale: Floats, ridge: float) -> Floats:
    """Return the weights of the largest likelihood less ridge / 2 times their squares."""
    every = np.concatenate([one.traits for one in choices]) / scale
    counts = np.array([len(one.traits) for one in choices])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    chosen = every[starts + np.array([one.chosen for one in choices])]
    repeats = Counter(one.same for one in choices)
    votes = np.array([1.0 / repeats[one.same] for one in choices])

    def loss(weights: Floats) -> tuple[float, Floats]:
        worth = every @ weights
        top = np.maximum.reduceat(worth, starts)
        raised = np.exp(worth - np.repeat(top, counts))
        sums = np.add.reduceat(raised, starts)
        likely = chosen @ weights - top - np.log(sums)
        shares = raised * np.repeat(votes / sums, counts)
        slope = votes @ chosen - shares @ every
        return (
            float(-(votes @ likely) + ridge / 2 * (weights @ weights)),
            -slope + ridge * weights,
        )

    found = minimize(
        loss, np.zeros(every.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": _ROUNDS}
    )
    weights: Floats = found.x
    return weights

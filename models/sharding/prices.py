"""What each term of the time model costs in practice, learned from published step times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from models.sharding.cost import forward_parts, step_cost
from models.sharding.job import Job
from models.sharding.layout import REMATS, Layout, LayoutTable, Remat
from models.sharding.memory import memory_use

Floats = NDArray[np.float64]
_PRICE_SPREAD = 0.2
"""Standard deviation of the log of a price around 1, before any row is seen."""
_CHIP_SPREAD = 0.3
"""The same of a chip's factor."""
_SCALE_SPREAD = 0.2
"""The same of what pods and chips add per three doublings."""
_NOISE = 0.1
"""The same of a row around what prices say; beyond it rows count less and less."""
_USUAL_CHIPS = 7.0
"""Doublings of chips (128) from which more and fewer are counted."""


class TimedRun(NamedTuple):
    """A layout, the job it ran, what it took."""

    job: Job
    layout: Layout
    policy: Remat | None
    """Recomputation as it was stated; None: the fastest policy that fits is taken."""
    step_s: float


class _Fit(NamedTuple):
    """Logs of what is learned for one kind of chip."""

    terms: Floats
    scales: Floats
    common: float
    chips: Mapping[str, float]


@dataclass(frozen=True)
class Prices:
    """Corrections of the time model, by kind of chip."""

    fits: Mapping[str, _Fit]

    def step_s(self, job: Job, layout: Layout, policy: Remat | None) -> float:
        """Return the seconds of a step; those of the plain model where nothing is known."""
        terms = term_seconds(job, layout, policy)
        fit = self.fits.get(job.place.chip.kind)
        if fit is None:
            return float(terms.sum())
        log_s = np.log(terms @ np.exp(fit.terms)) + fit.common + _scales(job) @ fit.scales
        return float(np.exp(log_s + fit.chips.get(job.place.chip.name, 0.0)))


def term_seconds(job: Job, layout: Layout, policy: Remat | None) -> Floats:
    """Return the seconds of a step by what is priced alike, shape (11,).

    In turn: products in 16 bits, in fewer; attention; routed experts; recomputation; collectives
    of tensor, context, expert and of weights; pipeline; what is fixed.
    """
    table = LayoutTable.of([replace(layout, remat=one) for one in ([policy] if policy else REMATS)])
    cost = step_cost(table, job)
    fits = memory_use(table, job).total <= job.place.chip.hbm_bytes
    seconds = np.where(fits, cost.step_s, np.inf) if fits.any() else -cost.step_s
    row = int(np.argmin(seconds))
    parts = np.array([part[row] for part in forward_parts(table, job)])
    linear, attention, experts = cost.compute[row] * parts / parts.sum()
    is_narrow = job.workload.compute != "bf16"
    terms = [
        0.0 if is_narrow else linear, linear if is_narrow else 0.0, attention, experts,
        cost.recompute[row], cost.tensor[row], cost.context[row], cost.expert[row],
        cost.weights[row] + cost.gradients[row], cost.bubble[row] + cost.stages[row],
        cost.latency[row] + cost.optimizer[row] + cost.host[row],
    ]  # fmt: skip
    return np.array(terms, dtype=np.float64)


def learn_prices(runs: Sequence[TimedRun]) -> Prices:
    """Fit prices on timed runs, per kind of chip: a pull to 1 keeps what few runs show.

    Runs of the same model on the same chip share their weight; single odd ones count less than
    by their square (Huber's loss, made smooth).
    """
    fits: dict[str, _Fit] = {}
    for kind in sorted({one.job.place.chip.kind for one in runs}):
        fits[kind] = _fit([one for one in runs if one.job.place.chip.kind == kind])
    return Prices(fits)


def _scales(job: Job) -> Floats:
    """Return what stragglers and crowded networks grow with: pods, chips."""
    place = job.place
    return np.array([np.log2(place.pods), np.log2(place.chips) - _USUAL_CHIPS]) / 3.0


def _fit(runs: Sequence[TimedRun]) -> _Fit:
    terms = np.stack([term_seconds(one.job, one.layout, one.policy) for one in runs])
    scales = np.stack([_scales(one.job) for one in runs])
    logs = np.log([one.step_s for one in runs])
    names = [one.job.place.chip.name for one in runs]
    chips = sorted(set(names))
    is_chip = np.array([[name == chip for chip in chips] for name in names], dtype=np.float64)
    who = [(one.job.model.name, one.job.place.chip.name) for one in runs]
    counts = Counter(who)
    votes = np.array([counts[one] ** -0.25 for one in who])
    ends = np.cumsum([terms.shape[1], scales.shape[1], 1, len(chips)])[:-1]
    spreads = np.concatenate(
        [
            np.full(terms.shape[1], _PRICE_SPREAD), np.full(scales.shape[1], _SCALE_SPREAD),
            [1.0], np.full(len(chips), _CHIP_SPREAD),
        ]
    )  # fmt: skip

    def residuals(values: Floats) -> Floats:
        prices, growth, common, factors = np.split(values, ends)
        guess = np.log(terms @ np.exp(prices)) + scales @ growth + common + is_chip @ factors
        left = votes * (guess - logs) / _NOISE
        soft = np.sign(left) * np.sqrt(2.0 * (np.sqrt(1.0 + left**2) - 1.0))
        return np.concatenate([soft, values / spreads])

    found = least_squares(residuals, np.zeros(len(spreads)), max_nfev=40)
    prices, growth, common, factors = np.split(found.x, ends)
    return _Fit(prices, growth, float(common[0]), dict(zip(chips, factors.tolist(), strict=True)))

"""What a site's runs show beside the cost model: corrections near measured layouts, failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from sklearn.linear_model import LogisticRegression

from models.sharding.calibrate import Runs, calibrate
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.layout import LayoutTable, legal
from models.sharding.memory import memory_use

Floats = NDArray[np.float64]
_REACHES = (0.5, 1.0, 2.0, 4.0)
"""Distances (in doublings of an axis) over which corrections may reach; runs choose one."""
_NOISES = (0.02, 0.1, 0.3)
"""Noise of a run over the spread of the corrections, as variances; runs choose one."""
MOST_CORRECTION = 0.7
"""Largest correction (of a log): a run that took twice as long was disturbed, and teaches less."""
_SIZE_REACH = 4.0
"""How much farther a doubling of parameters may be than one of an axis."""
_SAME_SHARE = 0.8
"""Share of a correction that the same layout on as many chips gives, be it of another size: what
a site does to a layout (crowded networks, odd ranks) is not smooth in its axes."""


def position(table: LayoutTable, job: Job) -> Floats:
    """Return where layouts stand: doublings of each axis, shape (n_layouts, 8)."""
    axes = [
        table.batch_shards(job), table.tensor, table.context, table.expert, table.pipeline,
        table.micro_batch,
    ]  # fmt: skip
    doublings = [np.log2(axis) for axis in axes]
    size = np.full(table.size, np.log2(job.model.params) / _SIZE_REACH)
    kind = np.where(table.weight_shards > 1, 2.0, table.zero)
    return np.stack([*doublings, kind, size], axis=1)


@dataclass(frozen=True)
class Site:
    """Cost and memory of one site: fitted constants, corrections and failures."""

    constants: Constants = DEFAULT
    places: Floats | None = None
    """Positions of the runs that corrections come from, shape (n_runs, 8)."""
    pulls: Floats | None = None
    """Weight of each of them."""
    reach: float = 1.0
    failing: LogisticRegression | None = None
    """Chance of failing by `_signs`; None: what fits is taken to run."""
    collapsing: LogisticRegression | None = None
    """Chance that a run is far slower than it should be; None: never seen."""
    same: Mapping[tuple[int, ...], tuple[tuple[float, float], ...]] = field(default_factory=dict)
    """By chips and layout: log of parameters and correction of the fastest run of each size."""

    def log_correction(self, table: LayoutTable, job: Job) -> Floats:
        """Return what to add to the log of predicted step times."""
        if self.places is None or self.pulls is None:
            return np.zeros(table.size)
        near = _kernel(position(table, job), self.places, self.reach)
        smooth: Floats = near @ self.pulls
        if any(key[0] == job.place.chips for key in self.same):
            size = np.log(job.model.params)
            for row, key in enumerate(_keys(table, job)):
                if key in self.same:
                    _, seen = min(self.same[key], key=lambda one: abs(one[0] - size))
                    smooth[row] += _SAME_SHARE * (seen - smooth[row])
        return smooth

    def step_s(self, table: LayoutTable, job: Job) -> Floats:
        """Return corrected step times, in seconds."""
        raw = step_cost(table, job, self.constants).step_s
        corrected: Floats = raw * np.exp(self.log_correction(table, job))
        return corrected

    def expected_step_s(self, table: LayoutTable, job: Job) -> Floats:
        """Return step times that count the chance of a collapse as time lost, in seconds."""
        seconds = self.step_s(table, job)
        if self.collapsing is None:
            return seconds
        chance = self.collapsing.predict_proba(_strains(table, job, self.constants))[:, 1]
        expected: Floats = seconds / (1 - np.minimum(chance, 0.99))
        return expected

    def failure(self, table: LayoutTable, job: Job) -> Floats:
        """Return the chance that each layout does not run."""
        if self.failing is None:
            fits = memory_use(table, job, self.constants).total <= job.place.chip.hbm_bytes
            return np.where(fits & legal(table, job), 0.0, 1.0)
        chance = self.failing.predict_proba(_signs(table, job, self.constants))[:, 1]
        return np.where(legal(table, job), chance, 1.0)


def learn_site(runs: Sequence[Runs], start: Constants = DEFAULT) -> Site:
    """Calibrate on a site's runs: constants, then corrections, then failures.

    Corrections are the mean of a Gaussian process over what the cost model leaves, whose reach
    and noise are those that predict each run best from the others (leave-one-out in closed form,
    Rasmussen and Williams 2006, equation 5.12).

    Args:
        runs: Runs of one site, failed ones too; never those that are scored afterwards.
        start: Where the constants begin.

    Raises:
        NotEnoughDataError: No run has a time.
    """
    constants = calibrate(runs, start)
    places, left = [], []
    for one in runs:
        ok = np.isfinite(one.step_s)
        table = one.table.take(ok)
        places.append(position(table, one.job))
        left.append(np.log(one.step_s[ok] / step_cost(table, one.job, constants).step_s))
    where, raw = np.concatenate(places), np.concatenate(left)
    values = np.clip(raw, -MOST_CORRECTION, MOST_CORRECTION)
    best, reach, pulls = np.inf, 1.0, np.zeros(len(values))
    for one_reach in _REACHES:
        shape = _kernel(where, where, one_reach)
        for noise in _NOISES:
            factor = cho_factor(shape + noise * np.eye(len(values)))
            inverse = cho_solve(factor, np.eye(len(values)))
            weights = inverse @ values
            error = float(np.mean((weights / np.diag(inverse)) ** 2))
            if error < best:
                best, reach, pulls = error, one_reach, weights
    return Site(
        constants, where, pulls, reach, _learn_failures(runs, constants),
        _learn_collapses(runs, constants, raw), _fastest_of_each(runs, left),
    )  # fmt: skip


def _keys(table: LayoutTable, job: Job) -> list[tuple[int, ...]]:
    """Return chips and every size of each layout."""
    rows = np.stack([np.full(table.size, job.place.chips), *table], axis=1)
    return [tuple(row) for row in rows.tolist()]


def _fastest_of_each(
    runs: Sequence[Runs], left: Sequence[Floats]
) -> dict[tuple[int, ...], tuple[tuple[float, float], ...]]:
    """Return the correction of the fastest run of each layout, number of chips and size.

    Disturbances only slow runs down: of repeats the fastest says what a layout can do.
    """
    fastest: dict[tuple[int, ...], dict[float, float]] = {}
    for one, values in zip(runs, left, strict=True):
        size = float(np.log(one.job.model.params))
        table = one.table.take(np.isfinite(one.step_s))
        for key, value in zip(_keys(table, one.job), values.tolist(), strict=True):
            sizes = fastest.setdefault(key, {})
            sizes[size] = min(value, sizes.get(size, np.inf))
    return {key: tuple(sizes.items()) for key, sizes in fastest.items()}


def _kernel(left: Floats, right: Floats, reach: float) -> Floats:
    distance = np.abs(left[:, None, :] - right[None, :, :]).sum(axis=2)
    nearness: Floats = np.exp(-distance / reach)
    return nearness


def _signs(table: LayoutTable, job: Job, constants: Constants) -> Floats:
    """Return what failing depends on: memory against capacity, and whether stages are bare.

    Frameworks deal layers out by cost, and a large vocabulary weighs as much as several layers:
    with as many stages as layers one of them is left without.
    """
    fill = np.log(memory_use(table, job, constants).total / job.place.chip.hbm_bytes)
    bare = 3.0 * (table.pipeline >= job.model.layers)
    # What stages hold in flight is counted roughly, so that memory says something else of them.
    staged = 4.0 * (table.pipeline > 1) * np.clip(fill, -1, 1)
    return np.stack(
        [4.0 * np.clip(fill, -3, 3), 8.0 * np.clip(fill, -0.5, 0.5), bare, staged], axis=1
    )


def _strains(table: LayoutTable, job: Job, constants: Constants) -> Floats:
    """Return what collapses of speed come with: stages, unsplit optimizers, size, memory."""
    staged = (table.pipeline > 1).astype(float)
    fill = np.log(memory_use(table, job, constants).total / job.place.chip.hbm_bytes)
    return np.stack(
        [
            staged, np.log2(table.pipeline), staged * (table.zero == 0) * (table.data > 1),
            np.full(table.size, np.log2(job.place.chips) - 6), np.clip(fill, -3, 0.5),
        ],
        axis=1,
    )  # fmt: skip


def _learn_collapses(
    runs: Sequence[Runs], constants: Constants, left: Floats
) -> LogisticRegression | None:
    """Fit the chance that a run took more than twice as long as the cost model says."""
    tables = [one.table.take(np.isfinite(one.step_s)) for one in runs]
    labels = left > MOST_CORRECTION
    if not labels.any() or labels.all():
        return None
    strains = [_strains(t, one.job, constants) for t, one in zip(tables, runs, strict=True)]
    return LogisticRegression(C=1.0, max_iter=500).fit(np.concatenate(strains), labels)


def _learn_failures(runs: Sequence[Runs], constants: Constants) -> LogisticRegression | None:
    """Fit the chance of failing; None where all ran or all failed.

    Runs with more stages than layers teach where stages get too thin; what breaks another rule
    fails for that and teaches nothing.
    """
    signs, failed = [], []
    for one in runs:
        could_run = legal(one.table, one.job, without=("layers",))
        if could_run.any():
            signs.append(_signs(one.table.take(could_run), one.job, constants))
            failed.append(~np.isfinite(one.step_s[could_run]))
    labels = np.concatenate(failed) if failed else np.zeros(0, dtype=bool)
    if labels.all() or not labels.any():
        return None
    return LogisticRegression(C=1.0, max_iter=500).fit(np.concatenate(signs), labels)

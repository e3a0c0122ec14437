"""What other jobs of a site have shown, kept so that a tuner can start from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from models.errors import NotEnoughDataError
from models.sharding.calibrate import Runs
from models.sharding.constants import DEFAULT
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.residual import Site, learn_site
from models.sharding.shots.belief import (
    JOB_OFFSET,
    NOISE,
    OFFSET,
    Kernel,
    disturbance,
    draw_constants,
    ensemble,
    log_steps,
    places,
)

Floats = NDArray[np.float64]
MOST_RUNS = 1_000
"""Runs with a time that are used, the first ones: the fit grows with their cube."""
_SPREADS = (0.06, 0.12, 0.25)
_REACHES = (1.0, 2.0, 4.0)
"""Corrections that runs choose from."""
_DRAWS = 128
_TYPICAL = 0.1
"""Error of a log, when one run is foretold from the others, beyond which it counts less."""


@dataclass(frozen=True)
class History:
    """Runs of one site that ended, and what was learned from those that failed."""

    site: Site
    """Knows which layouts fail."""
    timed: tuple[tuple[Job, LayoutTable, Floats], ...]
    """Job, layouts that ran, log of their step times."""
    places: Floats
    """Where they stand, shape (n_runs, 9)."""
    kernel: Kernel
    """Corrections that foretell each run best from the others."""

    @property
    def logs(self) -> Floats:
        """Log of all step times, shape (n_runs,)."""
        return np.concatenate([logs for _, _, logs in self.timed])

    def own_covariance(self) -> Floats:
        """Return noise, and what each job has to itself, shape (n_runs, n_runs)."""
        return _own([len(logs) for _, _, logs in self.timed])


def learn_history(runs: Sequence[Runs]) -> History:
    """Learn from a site's runs of other jobs what `SiteTuner` starts from.

    Args:
        runs: Failed ones too; never those of the job that is tuned.

    Raises:
        NotEnoughDataError: No run has a time.
    """
    site = learn_site(runs)
    timed = []
    left = MOST_RUNS
    for one in runs:
        ok = np.flatnonzero(np.isfinite(one.step_s))[:left]
        left -= len(ok)
        if len(ok):
            timed.append((one.job, one.table.take(ok), np.log(one.step_s[ok])))
    if not timed:
        raise NotEnoughDataError("a history needs a run with a time, got none; start without one")
    where = np.concatenate([places(table, job) for job, table, _ in timed])
    draws = draw_constants(np.random.default_rng(0), _DRAWS, DEFAULT)
    logs = np.concatenate([log_steps(table, job, draws) for job, table, _ in timed], axis=1)
    residual = np.concatenate([values for _, _, values in timed]) - logs.mean(axis=0)
    base = ensemble(logs, logs) + OFFSET**2 + _own([len(values) for _, _, values in timed])
    kernels = [Kernel(spread, reach) for spread in _SPREADS for reach in _REACHES]
    errors = [_error(base + one.between(where, where), residual) for one in kernels]
    return History(site, tuple(timed), where, kernels[int(np.argmin(errors))])


def _own(sizes: Sequence[int]) -> Floats:
    job = np.repeat(np.arange(len(sizes)), sizes)
    alike: Floats = JOB_OFFSET**2 * (job[:, None] == job[None, :]) + NOISE**2 * np.eye(len(job))
    return alike


def _error(seen: Floats, left: Floats) -> float:
    """Return how badly each run is foretold from the others (Rasmussen, Williams 2006, eq. 5.12).

    Large errors count by their logarithm: collapses cannot be foretold.
    """
    factor = cho_factor(seen + np.diag(disturbance(seen, left)))
    inverse = cho_solve(factor, np.eye(len(left)))
    error = (inverse @ left) / np.diag(inverse)
    return float(np.mean(np.log1p((error / _TYPICAL) ** 2)))

"""What is believed of every candidate: its time, and whether it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import ndtr

from models.sharding.calibrate import MEMORY_BOUNDS, TIME_BOUNDS
from models.sharding.collectives import mesh_links
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.memory import memory_use
from models.sharding.propose import cost_of
from models.sharding.residual import position

if TYPE_CHECKING:
    from models.sharding.shots.history import History

Floats = NDArray[np.float64]

SPREADS: Mapping[str, float] = {
    "efficiency": 0.15,
    "half_tokens": 0.7,
    "half_width": 0.7,
    "link_share": 0.25,
    "network_share": 0.8,
    "link_latency_s": 0.8,
    "network_latency_s": 1.0,
    "congestion_chips": 1.0,
    "congestion_power": 0.3,
    "overlap": 0.4,
    "tensor_overlap": 0.5,
    "stage_share": 1.2,
    "stage_latency_s": 1.0,
    "layer_latency_s": 1.0,
    "tensor_launch": 0.4,
    "step_latency_s": 0.8,
    "expert_imbalance": 0.1,
    "expert_efficiency": 0.3,
    "host_bytes_per_s": 0.4,
    "activation_share": 0.25,
    "logit_bytes": 0.5,
    "state_share": 0.1,
    "reserved_bytes": 0.7,
}
"""How far constants of an unknown site lie from the literature, standard deviation of the log:
narrow for the chip, wide for its network and software, where sites differ most."""
_BOUNDS = {**TIME_BOUNDS, **MEMORY_BOUNDS}
OFFSET = 0.3
"""Spread of what slows all layouts of a job alike."""
JOB_OFFSET = 0.15
"""The same where other jobs of the site have shown what slows all of them."""
NOISE = 0.03
"""Spread of repeated runs."""
_SURPRISE = 2.0
"""Standard deviations beyond which a run was disturbed, and teaches less."""
_DISTURBED = 0.15
"""What is left of a run of the history, in logs, from which it counts as disturbed."""
_PASSES = 3
"""Passes over the history to find disturbed runs."""
_LEAST = 1e-8
"""Least variance of a prediction."""
_FILL_SPREAD = 0.06
"""Spread of real over predicted memory under the right constants."""
_CRASH = 0.03
"""Chance that a layout fails for another reason than memory, before anything is known."""


def draw_constants(
    random: np.random.Generator, count: int, centre: Constants = DEFAULT, width: float = 1.0
) -> list[Constants]:
    """Draw constants that a site may have.

    Args:
        random: Where draws come from.
        count: How many.
        centre: Middle of each, such as those of the literature or of a like site.
        width: Factor on `SPREADS`.
    """
    names = list(SPREADS)
    spreads = np.array([SPREADS[name] for name in names]) * width
    middles = np.log([getattr(centre, name) for name in names])
    low, high = np.log([_BOUNDS.get(name, (1e-12, 1e15)) for name in names]).T
    logs = np.clip(middles + spreads * random.standard_normal((count, len(names))), low, high)
    return [
        replace(centre, **{name: float(v) for name, v in zip(names, row, strict=True)})
        for row in np.exp(logs)
    ]


def log_steps(table: LayoutTable, job: Job, draws: Sequence[Constants]) -> Floats:
    """Return the log of predicted step times, shape (n_draws, n_layouts)."""
    if not job.workload.is_training:
        return np.log([cost_of(table, job, one).step_s for one in draws])
    links = mesh_links(table, job)
    return np.log([step_cost(table, job, one, links).step_s for one in draws])


def log_fills(table: LayoutTable, job: Job, draws: Sequence[Constants]) -> Floats:
    """Return the log of predicted memory over capacity, shape (n_draws, n_layouts)."""
    used = np.array([memory_use(table, job, one).total for one in draws])
    fills: Floats = np.log(used / job.place.chip.hbm_bytes)
    return fills


def ensemble(left: Floats, right: Floats) -> Floats:
    """Return the covariance of two sets of predictions over the same draws.

    Args:
        left: Shape (n_draws, n_left).
        right: Shape (n_draws, n_right).
    """
    centred = left - left.mean(axis=0)
    found: Floats = centred.T @ (right - right.mean(axis=0)) / max(len(left) - 1, 1)
    return found


def places(table: LayoutTable, job: Job) -> Floats:
    """Return where layouts stand, policies of recomputation included, shape (n_layouts, 9)."""
    return np.column_stack([position(table, job), table.remat])


def distances(left: Floats, right: Floats) -> Floats:
    """Return distances in doublings of an axis, shape (n_left, n_right)."""
    total = np.zeros((len(left), len(right)))
    for column in range(left.shape[1]):
        total += np.abs(left[:, column, None] - right[None, :, column])
    return total


@dataclass(frozen=True)
class Kernel:
    """What the cost model has no constant for, shared by layouts that stand close."""

    spread: float = 0.12
    """Standard deviation of the log of step times."""
    reach: float = 2.0
    """Distance over which it is shared, in doublings of an axis."""

    def between(self, left: Floats, right: Floats) -> Floats:
        """Return covariances, shape (n_left, n_right)."""
        shared: Floats = self.spread**2 * np.exp(-distances(left, right) / self.reach)
        return shared


def disturbance(seen: Floats, left: Floats) -> Floats:
    """Return the variance to add to each run that others do not explain.

    Args:
        seen: Covariance of the runs, noise included, shape (n_runs, n_runs).
        left: Log of measured over predicted, shape (n_runs,).
    """
    added = np.zeros(len(left))
    for _ in range(_PASSES):
        factor = cho_factor(seen + np.diag(added))
        rest = np.abs((added + NOISE**2) * cho_solve(factor, left))
        added = np.where(rest > _DISTURBED, rest**2, 0.0)
    return added


class StepBelief:
    """A Gaussian over the logs of all step times.

    Its covariance is that of the cost model under drawn constants, so that one slow run with
    stages moves all layouts with stages; conditioning on runs is the linear refit of all constants
    at once, in closed form (Rasmussen and Williams 2006, equation 2.23; Evensen 2003 for
    covariances of an ensemble).

    Args:
        draws: Constants that the site may have.
        history: Runs of other jobs of this site, from which constants and corrections carry over.
    """

    def __init__(
        self, table: LayoutTable, job: Job, draws: Sequence[Constants],
        history: History | None = None,
    ) -> None:  # fmt: skip
        logs = log_steps(table, job, draws)
        kernel = history.kernel if history else Kernel()
        where = places(table, job)
        self.middle = logs.mean(axis=0)
        self._covariance = ensemble(logs, logs) + OFFSET**2 + kernel.between(where, where)
        if history is not None:
            there = np.concatenate([log_steps(t, j, draws) for j, t, _ in history.timed], axis=1)
            cross = ensemble(logs, there) + OFFSET**2 + kernel.between(where, history.places)
            seen = ensemble(there, there) + kernel.between(history.places, history.places)
            seen = seen + OFFSET**2 + history.own_covariance()
            left = history.logs - there.mean(axis=0)
            factor = cho_factor(seen + np.diag(disturbance(seen, left)))
            self.middle = self.middle + cross @ cho_solve(factor, left)
            # What each job has to itself is unknown for this one.
            own = JOB_OFFSET**2 - cross @ cho_solve(factor, cross.T)
            self._covariance = self._covariance + own

    def after(self, rows: NDArray[np.intp], logs: Floats) -> tuple[Floats, Floats]:
        """Return middle and spread of every log step after some runs, shape (n_layouts,) each."""
        variance = np.diag(self._covariance)
        if not len(rows):
            return self.middle, np.sqrt(np.maximum(variance, _LEAST))
        left, seen = self._seen(rows, logs)
        cross = self._covariance[:, rows]
        factor = cho_factor(seen)
        middle = self.middle + cross @ cho_solve(factor, left)
        explained = (cross * cho_solve(factor, cross.T).T).sum(axis=1)
        return middle, np.sqrt(np.maximum(variance - explained, _LEAST))

    def evidence(self, rows: NDArray[np.intp], logs: Floats) -> float:
        """Return the log of the likelihood of some runs, but for a constant."""
        if not len(rows):
            return 0.0
        left, seen = self._seen(rows, logs)
        factor = cho_factor(seen)
        log_determinant = 2 * np.log(np.diag(factor[0])).sum()
        return float(-0.5 * left @ cho_solve(factor, left) - 0.5 * log_determinant)

    def _seen(self, rows: NDArray[np.intp], logs: Floats) -> tuple[Floats, Floats]:
        """Return what runs show beyond the middle, and its covariance."""
        seen = self._covariance[np.ix_(rows, rows)] + NOISE**2 * np.eye(len(rows))
        left = logs - self.middle[rows]
        # A collapsed run must not drag its neighbours along.
        excess = np.abs(left) / (_SURPRISE * np.sqrt(np.diag(seen)))
        return left, seen + np.diag(np.diag(seen) * np.maximum(excess**2 - 1, 0.0))


class RunBelief:
    """The chance that each candidate runs.

    Drawn constants of memory are weighed by how well they foretell what ran and what failed; a
    failure that memory does not explain makes its neighbours suspect.

    Args:
        fills: `log_fills` under the drawn constants, shape (n_draws, n_layouts).
        prior: Chance of running that other knowledge gives, shape (n_layouts,).
    """

    def __init__(self, table: LayoutTable, job: Job, fills: Floats, prior: Floats) -> None:
        self._table, self._places = table, places(table, job)
        self._fits = ndtr(-fills / _FILL_SPREAD)
        self._prior = prior
        self._fills = fills

    def after(self, rows: NDArray[np.intp], ran: NDArray[np.bool_]) -> Floats:
        """Return the chance of running after some runs, shape (n_layouts,)."""
        if not len(rows):
            unseen: Floats = self._prior * self._fits.mean(axis=0) * (1 - _CRASH)
            return unseen
        fits = self._fits[:, rows] * (1 - _CRASH)
        likely = np.log(np.where(ran, fits, 1 - fits) + 1e-9).sum(axis=1)
        weights = np.exp(likely - likely.max())
        weights /= weights.sum()
        chance = weights @ self._fits
        blame = np.where(ran, 0.0, _CRASH / (1 - (1 - _CRASH) * chance[rows] + 1e-9))
        near = np.exp(-distances(self._places, self._places[rows]))
        crash = (_CRASH + near @ np.minimum(blame, 1.0)) / (1 + near.sum(axis=1))
        chance = self._prior * chance * (1 - crash)
        runs: Floats = np.where(self._needs_as_much(rows[~ran]), 0.0, chance)
        return runs

    def _needs_as_much(self, failed: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return what repeats a failure: the same mesh with as much memory under every draw."""
        hopeless = np.zeros(self._table.size, dtype=np.bool_)
        mesh = np.column_stack([*self._table[:8]])
        for row in failed:
            same = (mesh == mesh[row]).all(axis=1)
            hopeless[same] |= (self._fills[:, same] >= self._fills[:, [row]] - 1e-9).all(axis=0)
        return hopeless

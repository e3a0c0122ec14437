"""Fit the constants of a site on a few measured runs; rows that are scored stay out of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from models.errors import NotEnoughDataError
from models.sharding.collectives import mesh_links
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.memory import memory_use

Floats = NDArray[np.float64]

TIME_BOUNDS: dict[str, tuple[float, float]] = {
    "efficiency": (0.1, 0.95),
    "half_tokens": (1.0, 2e4),
    "half_width": (1.0, 2e4),
    "link_share": (0.05, 1.0),
    "network_share": (0.01, 1.0),
    "link_latency_s": (1e-8, 1e-3),
    "network_latency_s": (1e-8, 1e-2),
    "congestion_chips": (16.0, 1e5),
    "congestion_power": (0.2, 6.0),
    "overlap": (0.01, 1.0),
    "tensor_overlap": (0.01, 0.95),
    "stage_share": (1e-4, 1.0),
    "stage_latency_s": (1e-7, 1e-1),
    "layer_latency_s": (1e-7, 1e-2),
    "tensor_launch": (1.0, 20.0),
    "step_latency_s": (1e-6, 10.0),
}
"""Constants of time that can be fitted, and how far they may go."""
MEMORY_BOUNDS: dict[str, tuple[float, float]] = {
    "activation_share": (0.2, 4.0),
    "logit_bytes": (1.0, 40.0),
    "state_share": (0.6, 1.6),
    "reserved_bytes": (1e7, 2e10),
}
"""Constants of memory that can be fitted, and how far they may go."""
_LAUNCH_STARTS = (1.0, 60.0)
"""Factors on the start of `layer_latency_s`: launches far below the rest give no slope."""
_FEW = 12
"""Runs below which only the constants that every run shows are fitted."""
_FIRST = ("efficiency", "layer_latency_s", "network_share", "stage_share")


@dataclass(frozen=True)
class Runs:
    """Measured runs of one job under several layouts."""

    job: Job
    table: LayoutTable
    step_s: Floats
    """Measured seconds of a step, shape (n_runs,); NaN: it did not run."""
    memory_bytes: Floats
    """Measured bytes per chip at the most, shape (n_runs,); NaN: not measured."""


def calibrate(runs: Sequence[Runs], start: Constants = DEFAULT) -> Constants:
    """Return constants fitted on measured runs, with the spread that is left.

    Bounded least squares on the logs of step times (every deviation counts by its factor, soft
    beyond 1), then on those of memory. With fewer than 12 times only four constants move.

    Args:
        runs: Runs of one site; never those that are scored afterwards.
        start: Where the fit begins, and what stays where nothing was measured.

    Raises:
        NotEnoughDataError: No run has a time.
    """
    known = [np.isfinite(one.step_s) for one in runs]
    count = int(sum(mask.sum() for mask in known))
    if count < 1:
        raise NotEnoughDataError(
            "calibration needs a measured step time, got none; give runs that ended"
        )
    timed = [
        (one.job, one.table.take(mask), one.step_s[mask])
        for one, mask in zip(runs, known, strict=True)
        if mask.any()
    ]
    links = [mesh_links(table, job) for job, table, _ in timed]
    logs = np.concatenate([np.log(times) for _, _, times in timed])
    # What is near the best of its job decides what is proposed; crawling runs weigh less.
    weights = np.concatenate([np.sqrt(times.min() / times) for _, _, times in timed])
    names = _FIRST if count < _FEW else tuple(TIME_BOUNDS)
    # A small pull to the start keeps constants that no run shows where they were.
    pull = 0.3 if count < _FEW else 0.02

    def times(constants: Constants) -> Floats:
        parts: list[Floats] = []
        for (job, table, _), one in zip(timed, links, strict=True):
            parts.append(np.log(step_cost(table, job, constants, one).step_s))
        return np.concatenate(parts)

    begins = [
        replace(start, layer_latency_s=start.layer_latency_s * factor)
        for factor in (_LAUNCH_STARTS[:1] if count < _FEW else _LAUNCH_STARTS)
    ]
    fits = [_fit(names, TIME_BOUNDS, one, times, logs, pull, weights) for one in begins]
    fitted, left, _ = min(fits, key=lambda one: one[2])
    fitted = replace(fitted, time_spread=max(left, 0.02))
    return _fit_memory(runs, fitted)


def _fit_memory(runs: Sequence[Runs], start: Constants) -> Constants:
    known = [
        (one.job, one.table.take(mask), one.memory_bytes[mask])
        for one in runs
        for mask in [np.isfinite(one.memory_bytes) & np.isfinite(one.step_s)]
        if mask.any()
    ]
    if sum(len(found) for _, _, found in known) < len(MEMORY_BOUNDS):
        return start
    logs = np.concatenate([np.log(found) for _, _, found in known])

    def use(constants: Constants) -> Floats:
        return np.concatenate(
            [np.log(memory_use(table, job, constants).total) for job, table, _ in known]
        )

    fitted, left, _ = _fit(
        tuple(MEMORY_BOUNDS), MEMORY_BOUNDS, start, use, logs, 0.02, np.ones(len(logs))
    )
    return replace(fitted, memory_spread=max(left, 0.01))


def _fit(
    names: Sequence[str], bounds: dict[str, tuple[float, float]], start: Constants,
    predict: Callable[[Constants], Floats], logs: Floats, pull: float, weights: Floats,
) -> tuple[Constants, float, float]:  # fmt: skip
    """Fit the logs of some constants; returns them, the robust spread of what is left, the loss."""
    low = np.log([bounds[name][0] for name in names])
    high = np.log([bounds[name][1] for name in names])
    begin = np.clip(np.log([getattr(start, name) for name in names]), low + 1e-9, high - 1e-9)

    def build(values: Floats) -> Constants:
        return replace(
            start, **{name: float(np.exp(v)) for name, v in zip(names, values, strict=True)}
        )

    def residuals(values: Floats) -> Floats:
        found = weights * (predict(build(values)) - logs)
        return np.concatenate([found, pull * (values - begin)])

    result = least_squares(
        residuals, begin, bounds=(low, high), loss="cauchy", f_scale=0.2, max_nfev=60
    )
    fitted = build(result.x)
    spread = float(1.4826 * np.median(np.abs(predict(fitted) - logs)))
    return fitted, spread, float(result.cost)

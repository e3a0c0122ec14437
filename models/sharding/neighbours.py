"""How like two jobs are: what the nearest published rows are found by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.sharding.job import Job
from models.sharding.published import Published

Floats = NDArray[np.float64]
_SCALES = np.array([1.0, 0.5, 2.0, 1.5, 1.5, 2.0, 1.0])
"""Doublings (or a difference of kind) over which a row's weight falls by a factor of e."""


def features(job: Job) -> Floats:
    """Return where a job stands: size, experts, kind, chips, tokens, length, memory."""
    model, work, place = job.model, job.workload, job.place
    return np.array(
        [
            np.log2(model.params),
            2.0 * bool(model.experts),
            4.0 * (place.chip.kind == "gpu"),
            np.log2(place.chips),
            np.log2(work.tokens / place.chips),
            np.log2(work.seq_len),
            np.log2(place.chip.hbm_bytes),
        ]
    )


def likeness(job: Job, rows: Sequence[Published]) -> Floats:
    """Return a weight in (0, 1] of each published row for a job."""
    if not rows:
        return np.zeros(0)
    there = np.stack([features(row.job) for row in rows])
    weights: Floats = np.exp(-np.abs((there - features(job)) / _SCALES).sum(axis=1))
    return weights

"""What experts chose for like jobs: nearest published rows, and a prior over layouts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.published import Published

Floats = NDArray[np.float64]
_SCALES = np.array([1.0, 0.5, 2.0, 1.5, 1.5, 2.0, 1.0])
"""Doublings (or a difference of kind) over which a row's weight falls by a factor of e."""
_FLOOR = 0.02


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


def split_of(table: LayoutTable) -> Floats:
    """Return what of a layout carries over to other numbers of chips, in doublings."""
    columns = (table.tensor, table.context, table.expert, table.pipeline)
    return np.stack([np.log2(column) for column in columns], axis=1)


def log_prior(table: LayoutTable, job: Job, rows: Sequence[Published]) -> Floats:
    """Return the negative log of how usual each layout is among like jobs; lower is more usual."""
    if not rows:
        return np.zeros(table.size)
    weights = likeness(job, rows)
    keep = weights > 1e-3 * weights.max()
    chosen = split_of(
        LayoutTable.of([row.layout for row, is_kept in zip(rows, keep, strict=True) if is_kept])
    )
    here = split_of(table)
    # Each doubling away counts for a third; experts less, their size follows the chips.
    distance = np.abs(here[:, None, :] - chosen[None, :, :]) * np.array([1.1, 1.1, 0.4, 1.1])
    closeness: Floats = np.exp(-distance.sum(axis=2)) @ (weights[keep] / weights[keep].sum())
    rarity: Floats = -np.log(_FLOOR + closeness)
    return rarity

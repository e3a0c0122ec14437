"""Trivial answers that every table shows: pure FSDP, a table of sizes, the nearest row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.neighbours import likeness
from models.sharding.published import Published

_SIZES = ((13e9, 1, 1), (40e9, 2, 1), (90e9, 4, 4), (200e9, 8, 8), (np.inf, 8, 16))
"""Parameters up to which tensor and pipeline sizes are usual on GPUs (Narayanan et al. 2021)."""


def pure_fsdp(job: Job) -> Layout:
    """Return the layout in which every chip is a shard of weights and batch."""
    return Layout(fsdp=job.place.chips)


def by_size(job: Job) -> Layout:
    """Return the usual layout for this number of parameters; pure FSDP on a torus."""
    if job.has_expert_axis:
        return pure_fsdp(job)
    tensor, pipeline = next((t, p) for most, t, p in _SIZES if job.model.params <= most)
    return spread(job, Layout(tensor=tensor, pipeline=pipeline))


def nearest(job: Job, rows: Sequence[Published], count: int) -> list[Layout]:
    """Return the layouts of the most like published jobs, spread over this job's chips."""
    order = np.argsort(-likeness(job, rows), kind="stable")
    found: list[Layout] = []
    for row in order:
        layout = spread(job, rows[int(row)].layout)
        if layout not in found:
            found.append(layout)
        if len(found) == count:
            break
    return found


def spread(job: Job, layout: Layout) -> Layout:
    """Keep tensor, context, expert and pipeline sizes; the rest of the chips shards the batch.

    Where the sizes do not divide the chips, every chip is a shard of the batch.
    """
    expert = layout.expert if job.model.experts else 1
    used = layout.tensor * layout.context * layout.pipeline
    used *= expert if job.has_expert_axis else 1
    if job.place.chips % used:
        return pure_fsdp(job)
    rest = job.place.chips // used
    return Layout(
        1, rest, 1, layout.tensor, layout.context, expert, layout.pipeline
    )  # fmt: skip

"""Which place along each mesh axis every chip has, as the cost model lays axes onto chips."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models.sharding.job import Job
from models.sharding.layout import Layout

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A piece of one torus dimension that an axis has taken."""

    dimension: int
    """Of the slice's shape, from 0."""
    size: int
    stride: int
    """Chips along the dimension between two places of the axis."""
    is_ring: bool


@dataclass(frozen=True)
class LaidAxis:
    """One mesh axis on the chips of one pod."""

    name: str
    size: int
    """Over all pods."""
    parts: tuple[Part, ...]
    """Where it lies on a torus; empty on GPUs."""
    places: Ints
    """Place of each chip along the axis, shape of the slice (GPUs: chips in order)."""
    pods: int = 1
    """How many of the places are pods, joined by the network."""


def laid_axes(job: Job, layout: Layout) -> tuple[LaidAxis, ...]:
    """Return the axes above 1, the busiest (innermost) first.

    On a torus an axis takes whole dimensions where their product fits, else a part of others
    (`Slice.lay`). On GPUs chips are numbered tensor first, then context, weight shards, replicas,
    stages (`mesh_links`); experts run over the innermost chips of a stage.
    """
    if job.place.chip.kind == "gpu":
        return _switched(job, layout)
    pods = job.place.pods
    data_pods = math.gcd(layout.data, pods)
    shard_pods = pods // data_pods
    shards = layout.fsdp * layout.fsdp_transpose
    wanted = [
        ("tensor", layout.tensor, 1), ("context", layout.context, 1), ("expert", layout.expert, 1),
        ("fsdp", shards, math.gcd(shards, shard_pods)), ("data", layout.data, data_pods),
    ]  # fmt: skip
    shape = job.place.shape
    free = [Part(i, n, 1, job.place.wraps(i)) for i, n in enumerate(shape) if n > 1]
    grid = np.indices(shape)
    found = []
    for name, size, over in wanted:
        taken, free = _take(size // over, free)
        places, stride = np.zeros(shape, dtype=np.int64), 1
        for part in taken:
            places += (grid[part.dimension] // part.stride) % part.size * stride
            stride *= part.size
        if size > 1:
            found.append(LaidAxis(name, size, tuple(taken), places, over))
    return tuple(found)


def _take(size: int, free: list[Part]) -> tuple[list[Part], list[Part]]:
    if size == 1:
        return [], free
    for count in range(1, len(free) + 1):
        for picked in combinations(range(len(free)), count):
            if math.prod(free[i].size for i in picked) == size:
                return [free[i] for i in picked], [p for i, p in enumerate(free) if i not in picked]
    taken, rest, left = [], [], size
    for part in sorted(free, key=lambda one: (one.size, one.is_ring), reverse=True):
        share = math.gcd(left, part.size)
        left //= share
        is_whole = share == part.size
        if share > 1:
            taken.append(Part(part.dimension, share, part.stride, part.is_ring and is_whole))
        if not is_whole:
            stride, ring = part.stride * share, part.is_ring and share == 1
            rest.append(Part(part.dimension, part.size // share, stride, ring))
    return taken, rest


def _switched(job: Job, layout: Layout) -> tuple[LaidAxis, ...]:
    numbers = np.arange(job.place.chips)
    shards = layout.fsdp * layout.fsdp_transpose
    wanted = [
        ("tensor", layout.tensor), ("context", layout.context), ("fsdp", shards),
        ("data", layout.data), ("pipeline", layout.pipeline),
    ]  # fmt: skip
    found, inner = [], 1
    for name, size in wanted:
        if size > 1:
            found.append(LaidAxis(name, size, (), numbers // inner % size))
        inner *= size
    if layout.expert > 1:
        found.append(LaidAxis("expert", layout.expert, (), numbers % layout.expert))
    return tuple(found)

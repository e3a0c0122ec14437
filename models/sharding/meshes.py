"""The fastest layout that fits of each mesh: what proposals and experts' choices are among."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.memory import memory_use
from models.sharding.propose import mesh_keys
from models.sharding.space import enumerate_layouts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Meshes:
    """The fastest layout that fits of each mesh, fastest first."""

    table: LayoutTable
    log_s: Floats
    """Log of the predicted seconds of a step, shape (n_meshes,)."""
    log_fill: Floats
    """Log of predicted memory over the capacity."""
    candidates: int
    """Legal layouts of all meshes, whether they fit or not."""


def fastest_per_mesh(
    job: Job, table: LayoutTable | None = None, constants: Constants = DEFAULT
) -> Meshes:
    """Return the fastest layout that fits of each mesh; none where nothing fits.

    Args:
        job: Of a training stage.
        table: Candidates; None: all legal layouts.
        constants: Of the literature or of a site.
    """
    table = enumerate_layouts(job) if table is None else table
    total = table.size
    use = memory_use(table, job, constants)
    capacity = job.place.chip.hbm_bytes
    fits = use.high <= capacity if (use.high <= capacity).any() else use.total <= capacity
    table, fill = table.take(fits), np.log(use.total[fits] / capacity)
    if table.size == 0:
        return Meshes(table, np.zeros(0), np.zeros(0), total)
    log_s = np.log(step_cost(table, job, constants).step_s)
    order = np.argsort(log_s, kind="stable")
    _, first = np.unique(mesh_keys(table, job)[order], axis=0, return_index=True)
    rows = order[np.sort(first)]
    return Meshes(table.take(rows), log_s[rows], fill[rows], total)


@lru_cache(maxsize=64)
def all_meshes(job: Job) -> Meshes:
    """Return the meshes of all legal layouts of a job, remembered."""
    return fastest_per_mesh(job)


def place_of(meshes: Meshes, job: Job, key: NDArray[np.int64]) -> int | None:
    """Return where a mesh (one row of `mesh_keys`) stands; None: it is not among them."""
    if meshes.table.size == 0:
        return None
    found = np.flatnonzero((mesh_keys(meshes.table, job) == key).all(axis=1))
    return int(found[0]) if len(found) else None

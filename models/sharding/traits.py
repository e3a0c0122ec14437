"""What of a mesh experts may look at, relative to the job: the features of `conventions.py`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.sharding.job import Job
from models.sharding.meshes import Meshes

Floats = NDArray[np.float64]
_TORUS_DOMAIN = 8
"""Chips of a torus over which tensors are usually split, where GPUs have their NVLink domain."""
_LENGTH = 8192
"""Where doublings of the sequence are counted from."""
TRAITS = (
    "splits tensors", "splits sequences", "has stages",
    "tensor", "tensor^2", "tensor x dense size", "tensor x MoE",
    "tensor beyond domain", "tensor x domain",
    "context", "context x length", "context beyond length",
    "stages", "stages^2", "stages x size", "stages x MoE", "stages x domain",
    "tensor+stages", "(tensor+stages)^2", "(tensor+stages) x size",
    "bubble", "sequences per stage", "time over best", "root of time over best",
    "memory", "memory^2", "kinds", "kinds x size", "kinds x dense size",
    "no split", "no split x size",
    "expert", "expert from the most", "one expert each", "expert x stages", "expert x size",
    "expert as batch", "expert below batch",
)  # fmt: skip
"""Names of the traits, in the order of the columns."""


def traits(meshes: Meshes, job: Job) -> Floats:
    """Return what each mesh is like, shape (n_meshes, n_traits); sizes in doublings.

    Tensor, context, expert and pipeline sizes by themselves, squared and times what should
    decide them (memory that weights fill, NVLink domain, length, experts), the bubble, sequences
    per shard, memory, predicted time over the best, and how many kinds of splits are used.
    """
    table, model, work, chip = meshes.table, job.model, job.workload, job.place.chip
    tensor, context, expert, stages = (
        np.log2(size) for size in (table.tensor, table.context, table.expert, table.pipeline)
    )
    domain = float(np.log2(chip.domain if chip.kind == "gpu" else _TORUS_DOMAIN))
    is_moe = float(bool(model.experts))
    # Weights in 16 bits over the memory of one chip: how many of them hold the model.
    size = float(np.log2(2.0 * model.params / chip.hbm_bytes))
    dense = float(np.log2(2.0 * (model.params - model.routed_params) / chip.hbm_bytes))
    length = float(np.log2(work.seq_len / _LENGTH))
    steps = np.maximum(table.micro_steps(job), 1.0)
    sequences = np.maximum(table.micro_steps(job) * table.micro_batch, 1.0)
    joint = tensor + stages
    kinds = 1.0 * (tensor > 0) + 1.0 * (context > 0) + 1.0 * (stages > 0)
    none = 1.0 * (kinds == 0)
    gap = meshes.log_s - meshes.log_s.min() if len(meshes.log_s) else meshes.log_s
    fill = np.clip(meshes.log_fill, -2.0, 0.2)
    columns = [
        1.0 * (tensor > 0), 1.0 * (context > 0), 1.0 * (stages > 0),
        tensor, tensor**2, tensor * dense, tensor * is_moe,
        np.maximum(tensor - domain, 0.0), tensor * (domain - 3),
        context, context * length, np.maximum(context - max(length, 0.0), 0.0),
        stages, stages**2, stages * size, stages * is_moe, stages * (domain - 3),
        joint, joint**2, joint * size,
        np.log1p((table.pipeline - 1) / steps),
        np.minimum(np.log2(sequences / table.pipeline), 3.0),
        np.minimum(gap, 1.5), np.sqrt(np.minimum(gap, 3.0)), fill, fill**2,
        kinds, kinds * size, kinds * dense, none, none * size,
        *_expert_traits(meshes, job, domain, expert, stages, size),
    ]  # fmt: skip
    assert len(columns) == len(TRAITS)
    return np.stack(columns, axis=1)


def _expert_traits(
    meshes: Meshes, job: Job, domain: float, expert: Floats, stages: Floats, size: float
) -> list[Floats]:
    """Return what splits of experts are like; zeros for dense models."""
    table, model = meshes.table, job.model
    if not model.experts:
        return [np.zeros(table.size)] * 7
    # As many shards as experts, chips and the fast domain allow.
    most = float(np.log2(min(model.experts, job.place.chips, 2 ** int(domain))))
    shards = table.batch_shards(job)
    return [
        expert, np.abs(expert - most), 1.0 * (table.expert == model.experts),
        expert * stages, expert * size, 1.0 * (table.expert == shards),
        np.maximum(np.log2(shards) - expert, 0.0),
    ]  # fmt: skip

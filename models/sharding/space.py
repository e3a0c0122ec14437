"""All legal layouts of a job, as columns."""

from __future__ import annotations

from itertools import product

import numpy as np

from models.errors import ConfigError
from models.sharding.divisors import divisors
from models.sharding.job import Job
from models.sharding.layout import REMATS, Layout, LayoutTable, Remat, legal

MOST_MICRO = 64
"""Largest micro-batch that is tried, in sequences."""
MOST_MESHES = 120_000
"""Meshes that are looked at: DeepSeek-V3 has 63,576 on 131,072 GPUs and 100,728 on 2**20, numbers
with hundreds of divisors have millions."""


def meshes(job: Job, with_transpose: bool = False) -> list[Layout]:
    """List axis sizes that multiply to the chips: no interleaving, micro-batch 1.

    Pipelines are tried in training on GPUs, where frameworks offer them; sequences are split
    only when training. Where `data` replicates, the variant with a split optimizer is listed too.

    Args:
        job: Model, workload, slice.
        with_transpose: Whether splits of `fsdp` over both dimensions are listed apart.

    Raises:
        ConfigError: There are more than `MOST_MESHES`.
    """
    chips, model, work = job.place.chips, job.model, job.workload
    is_gpu = job.place.chip.kind == "gpu"
    tensors = [t for t in divisors(chips) if model.heads % t == 0]
    stages = divisors(chips) if is_gpu and work.is_training else [1]
    stages = [p for p in stages if p <= model.layers]
    contexts = [c for c in divisors(chips) if work.seq_len % c == 0] if work.is_training else [1]
    experts = [e for e in divisors(chips) if model.experts and model.experts % e == 0] or [1]
    found = []
    for tensor, stage, context, expert in product(tensors, stages, contexts, experts):
        used = tensor * stage * context * (expert if job.has_expert_axis else 1)
        if chips % used or work.seq_len % (tensor * context):
            continue
        if not is_gpu and job.place.pods > 1 and (chips // used) % job.place.pods:
            continue
        left = chips // used
        if not job.has_expert_axis and (left * tensor * context) % expert:
            continue
        # Each is a shard of the batch: illegal, however it is split.
        if work.global_batch % (left * (expert if job.has_expert_axis else 1)):
            continue
        for fsdp in divisors(left) if work.is_training else [1]:
            splits = divisors(fsdp) if with_transpose else [1]
            for transpose, zero in product(splits, (0, 1) if left > fsdp else (0,)):
                found.append(
                    Layout(
                        left // fsdp, fsdp // transpose, transpose, tensor, context, expert,
                        stage, zero=zero,
                    )
                )  # fmt: skip
        if len(found) > MOST_MESHES:
            raise ConfigError(
                f"{chips} chips split in more than {MOST_MESHES} ways for {model.name}; ask for "
                "chips, batch and sequence with fewer divisors, such as powers of two"
            )
    return found


def enumerate_layouts(
    job: Job, with_transpose: bool = False, remats: tuple[Remat, ...] = REMATS
) -> LayoutTable:
    """Return every legal layout: meshes x micro-batch x policy x interleaving.

    Args:
        job: Model, workload, slice.
        with_transpose: See `meshes`.
        remats: Policies that are tried; serving recomputes nothing and takes `none` alone.

    Raises:
        ConfigError: There are too many to look at.
    """
    base = LayoutTable.of(meshes(job, with_transpose))
    micros = [m for m in divisors(job.workload.global_batch) if m <= MOST_MICRO]
    policies = [REMATS.index(one) for one in remats] if job.workload.is_training else [0]
    if job.place.chip.kind == "gpu":
        # Frameworks on GPUs offer no offloading of activations by name.
        policies = [one for one in policies if REMATS[one] != "offload"]
    if not job.workload.is_training:
        # All sequences of a replica are decoded together.
        shards = np.maximum(base.batch_shards(job), 1)
        base = base._replace(micro_batch=np.maximum(job.workload.global_batch // shards, 1))
        micros = [1]
    chunks = [1]
    if base.size and base.pipeline.max() > 1:
        chunks += [v for v in divisors(job.model.layers + 2) + divisors(job.model.layers) if v > 1]
        chunks = sorted({v for v in chunks if v <= 20})
    grid = np.array(list(product(micros, policies, chunks)), dtype=np.int64)
    mesh = np.repeat(np.arange(base.size), len(grid))
    micro, remat, chunk = np.tile(grid, (base.size, 1)).T
    # Cut early what is most often illegal, so that the wide table stays small.
    keep = (chunk == 1) | (
        (base.pipeline[mesh] > 1) & (base.pipeline[mesh] * chunk <= job.model.layers + 2)
    )
    shards = base.batch_shards(job)[mesh] * base.micro_batch[mesh] * micro
    keep &= job.workload.global_batch % shards == 0
    mesh, micro, remat, chunk = mesh[keep], micro[keep], remat[keep], chunk[keep]
    table = base.take(mesh)
    table = table._replace(micro_batch=table.micro_batch * micro, remat=remat, interleave=chunk)
    return table.take(legal(table, job))

"""Bytes per chip: every shard is counted once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sharding.constants import DEFAULT, Z90, Constants
from models.sharding.job import Job
from models.sharding.layout import REMATS, LayoutTable

Floats = NDArray[np.float64]
_ADAPTER_SHARE = 0.01
"""Trained over frozen parameters of adapters: rank 16 on all matrices is about 0.5 to 1 %."""


@dataclass(frozen=True)
class MemoryUse:
    """Bytes per chip of each layout, by what holds them; arrays of shape (n_layouts,)."""

    weights: Floats
    gradients: Floats
    optimizer: Floats
    activations: Floats
    logits: Floats
    cache: Floats
    buffers: Floats
    spread: float
    """Standard deviation of the log of real over predicted."""

    @property
    def total(self) -> Floats:
        """Middle of the prediction."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations)
        return sum(parts, self.logits + self.cache + self.buffers)

    @property
    def low(self) -> Floats:
        """10 % quantile."""
        return self.total * float(np.exp(-Z90 * self.spread))

    @property
    def high(self) -> Floats:
        """90 % quantile."""
        return self.total * float(np.exp(Z90 * self.spread))


def held_params(table: LayoutTable, job: Job) -> tuple[Floats, Floats]:
    """Return parameters of a chip's stage before weight sharding: dense ones, routed experts.

    Routed experts are split over `expert`; on a torus over `tensor` too. Embeddings are split
    like the layers: they weigh on the first and last stage, which is what the memory model
    wants of large vocabularies only roughly.
    """
    model = job.model
    dense = (model.params - model.routed_params) / (table.tensor * table.pipeline)
    routed = model.routed_params / (table.expert * table.pipeline)
    if job.has_expert_axis:
        routed = routed / table.tensor
    # A tied embedding stands on the first and on the last stage.
    extra = model.embedding_params / table.tensor * (table.pipeline > 1) * (1 - 1 / table.pipeline)
    return dense + extra, routed


def weight_groups(table: LayoutTable, job: Job) -> tuple[Floats, Floats]:
    """Return over how many chips dense and routed weights are split by `fsdp`.

    Where weights are sharded at all, `context` shards them too, on a torus `expert` the dense
    ones as well (the rules of MaxText and torchtitan). On GPUs experts use up chips of the batch:
    what is left of `fsdp` shards them.
    """
    shards = table.weight_shards.astype(float)
    if job.has_expert_axis:
        shards = shards * table.context
        return shards * table.expert, shards
    shards = np.where(shards > 1, shards * table.context, shards)
    spare = np.maximum(shards * table.tensor / table.expert, 1.0)
    return shards, np.minimum(shards, spare) if job.model.experts else shards


def replicas(table: LayoutTable, job: Job) -> tuple[Floats, Floats]:
    """Return on how many chips a shard of dense and of routed weights is repeated."""
    stage_chips = table.data * table.weight_shards * table.context * 1.0
    split = weight_groups(table, job)[0] / (table.expert if job.has_expert_axis else 1)
    dense = stage_chips / split
    if job.has_expert_axis or not job.model.experts:
        return dense, dense
    stage = table.batch_shards(job) * table.tensor * table.context
    return dense, np.maximum(stage / (table.expert * weight_groups(table, job)[1]), 1.0)


def saved_bytes_per_token(job: Job, remat: NDArray[np.int64]) -> Floats:
    """Return bytes saved per token and layer for the backward pass, in bf16, before splitting.

    Inputs of the two norms and of the two blocks, queries, keys, values and the output of
    attention, and what the MLP multiplies; `selective` recomputes the MLP, `full` the layer; what
    is offloaded is not on the chip.
    """
    model = job.model
    width = model.heads * (model.head_dim + model.rope_dim)
    attention = 2 * width + 2 * model.kv_heads * model.head_dim
    if model.experts:
        visits = model.experts_per_token + model.shared_experts
        share = model.moe_layers / model.layers
        inner = share * visits * (model.expert_ffn * model.mlp_matrices + 2 * model.hidden)
        inner += (1 - share) * model.ffn * model.mlp_matrices
    else:
        inner = float(model.ffn * model.mlp_matrices)
    levels = np.array(
        [
            2 * (4 * model.hidden + attention + inner),
            2 * (3 * model.hidden + attention),
            2 * model.hidden,
            0.0,
        ]
    )
    assert len(levels) == len(REMATS)
    return levels[remat]


def memory_use(table: LayoutTable, job: Job, constants: Constants = DEFAULT) -> MemoryUse:
    """Return the memory that each layout needs on its fullest chip.

    Source: activations after Korthikanti et al. (2022), "Reducing Activation Recomputation";
    optimizer sharding after Rajbhandari et al. (2020), "ZeRO".
    """
    model, work = job.model, job.workload
    dense, routed = held_params(table, job)
    dense_group, routed_group = weight_groups(table, job)
    dense_copies, routed_copies = replicas(table, job)
    shard = dense / dense_group + routed / routed_group
    split = np.where(table.zero > 0, 1.0, 0.0)
    owned = dense / dense_group / np.where(split, dense_copies, 1.0)
    owned = owned + routed / routed_group / np.where(split, routed_copies, 1.0)
    trained = {"serve": 0.0, "lora": _ADAPTER_SHARE}.get(work.stage, 1.0)
    state = constants.state_share
    # JAX keeps one copy of the weights, that of the optimizer; the one that is multiplied passes.
    # Frozen weights have no optimizer, so theirs stays.
    is_whole = work.stage in ("pretrain", "finetune")
    kept = 0.0 if job.has_expert_axis and is_whole else work.weight_bytes
    weights = shard * kept * state
    gradients = shard * work.grad_bytes * trained * state
    optimizer = owned * work.optimizer_bytes * trained * state

    tokens = table.micro_batch * (work.seq_len / table.context)
    none = np.zeros(table.size)
    if work.is_training:
        per_stage = model.layers / table.pipeline
        steps = np.maximum(table.micro_steps(job), 1.0)
        # 1F1B: the first stage holds as many micro-batches as there are stages, interleaving more.
        chunked = 1 + (table.pipeline - 1) / (table.pipeline * table.interleave)
        held = np.minimum(table.pipeline * np.where(table.interleave > 1, chunked, 1.0), steps)
        saved = saved_bytes_per_token(job, table.remat)
        working = saved_bytes_per_token(job, np.zeros_like(table.remat))
        layer = tokens / table.tensor * constants.activation_share
        first = (saved * per_stage * held + working) * layer
        last = (saved * per_stage + working) * layer
        per_logit = constants.logit_bytes * (0.5 if job.has_expert_axis else 1.0)
        logits = tokens * model.vocab / table.tensor * per_logit
        # The first stage holds the most micro-batches, the last one the logits.
        is_last = last + logits >= first
        activations = np.where(is_last, last, first)
        logits = np.where(is_last, logits, 0.0)
        cache = none
    else:
        activations = tokens / table.micro_batch * model.hidden * 8.0
        logits = table.micro_batch * model.vocab * 4.0 / table.tensor
        shards = np.minimum(table.tensor, model.kv_heads) if not model.kv_lora else 1
        length = work.seq_len + work.output_len
        cache = table.micro_batch * length * model.cache_bytes_per_token() / shards
    # What computes and what comes next: dense parts of two layers, two matrices of all experts.
    per_layer = (dense + routed / model.mlp_matrices) / (model.layers / table.pipeline)
    gathered = per_layer * work.weight_bytes * 2
    is_gathered = weight_groups(table, job)[0] > 1
    buffers = np.where(is_gathered, gathered, 0.0) + constants.reserved_bytes
    return MemoryUse(
        weights, gradients, optimizer, activations, logits, cache + none, buffers,
        constants.memory_spread,
    )  # fmt: skip

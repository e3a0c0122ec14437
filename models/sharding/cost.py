"""Seconds of a training step, term by term; `serving.py` has those of serving."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from models.sharding.collectives import MeshLinks, mesh_links
from models.sharding.constants import DEFAULT, Z90, Constants
from models.sharding.job import Job
from models.sharding.layout import REMATS, LayoutTable
from models.sharding.memory import held_params, replicas, weight_groups

Floats = NDArray[np.float64]
REPEATED = np.array([0.0, 0.45, 1.0, 0.85])
"""Share of the forward pass that each policy of `REMATS` repeats: the MLP is about half of it."""


@dataclass(frozen=True)
class StepCost:
    """Seconds that each term adds to a step, after overlap; arrays of shape (n_layouts,)."""

    compute: Floats
    """Matrix products that the model needs."""
    recompute: Floats
    """Products repeated in the backward pass."""
    tensor: Floats
    """Collectives of tensor parallelism."""
    context: Floats
    """Keys and values passed around."""
    expert: Floats
    """All-to-all of tokens to experts, and the imbalance of experts."""
    weights: Floats
    """Weights gathered and their gradients scattered."""
    gradients: Floats
    """Gradients summed over replicas."""
    bubble: Floats
    """Stages that wait."""
    stages: Floats
    """Transfers between stages."""
    host: Floats
    """Activations that go to the host and back, where that takes longer than computing."""
    latency: Floats
    """Launches that the device waits for, and what comes once per step."""
    optimizer: Floats
    """Reading and writing of optimizer state."""
    spread: float
    """Standard deviation of the log of real over predicted."""

    @property
    def step_s(self) -> Floats:
        """Middle of the prediction."""
        total: Floats = sum(self.terms().values(), np.zeros(len(self.compute)))
        return total

    @property
    def low_s(self) -> Floats:
        """10 % quantile."""
        return self.step_s * float(np.exp(-Z90 * self.spread))

    @property
    def high_s(self) -> Floats:
        """90 % quantile."""
        return self.step_s * float(np.exp(Z90 * self.spread))

    def terms(self) -> dict[str, Floats]:
        """Return the terms by name, in seconds."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "spread"}


def step_cost(
    table: LayoutTable,
    job: Job,
    constants: Constants = DEFAULT,
    links: MeshLinks | None = None,
) -> StepCost:
    """Return what one optimizer step takes under each layout.

    Args:
        table: Legal layouts; others get a number without meaning.
        job: Model, workload of a training stage, slice.
        constants: Of the literature, or fitted on runs of a site (`calibrate`).
        links: `mesh_links(table, job)`, where it is known already.

    Source: "How to Scale Your Model" (Austin et al. 2025) for collectives and their overlap;
    Narayanan et al. (2021) for the interleaved bubble.
    """
    model, work = job.model, job.workload
    links = links or mesh_links(table, job)
    steps = np.maximum(table.micro_steps(job), 1.0)
    tokens = table.micro_batch * (work.seq_len / table.context)
    # The stage with the most layers sets the pace.
    slowest = np.ceil(model.layers / table.pipeline) * table.pipeline / model.layers
    per_stage = model.layers / table.pipeline * slowest

    dense_s, attention_s, routed_s = forward_parts(table, job, constants)
    forward_s = dense_s + attention_s + routed_s
    passes = 2.0 if work.stage == "lora" else 3.0
    compute = passes * forward_s
    repeated = REPEATED[table.remat]
    recompute = repeated * forward_s
    busy = compute + recompute

    tensor = _tensor_s(table, job, constants, links, per_stage, tokens, repeated)
    context = _context_s(table, job, constants, links, per_stage, tokens, busy)
    imbalance = np.where(table.expert > 1, constants.expert_imbalance - 1, 0.0)
    expert = imbalance * (passes + repeated) * routed_s
    expert = expert + _exchange_s(table, job, constants, links, tokens, repeated)
    weights = _weights_s(table, job, constants, links)
    hidden = np.minimum(weights * constants.overlap, busy)
    weights = weights - hidden
    host = _host_s(table, job, constants, per_stage, tokens)
    host = np.maximum(host - busy, 0.0)
    device = busy + host + tensor + context + expert + weights
    # Launching runs ahead of the device: the slower of both sets the pace, softly where equal.
    launch = per_stage * constants.layer_latency_s * (passes + repeated) / 3.0
    launch = launch * np.where(table.tensor > 1, constants.tensor_launch, 1.0)
    one = (device**4 + launch**4) ** 0.25
    latency = one - device

    waits = (table.pipeline - 1) / table.interleave
    bubble = waits * one
    stages = _stages_s(table, job, constants, links, tokens, steps)
    sums = _gradients_s(table, job, constants, links)
    # Sums overlap with the last backward pass alone.
    gradients = sums - np.minimum(sums * constants.overlap, busy * 2 / 3)
    optimizer = _optimizer_s(table, job)
    return StepCost(
        compute * steps, recompute * steps, tensor * steps, context * steps, expert * steps,
        weights * steps, gradients, bubble, stages, host * steps,
        latency * steps + constants.step_latency_s, optimizer, constants.time_spread,
    )  # fmt: skip


def forward_parts(
    table: LayoutTable, job: Job, constants: Constants = DEFAULT
) -> tuple[Floats, Floats, Floats]:
    """Return seconds of one forward pass of a micro-batch through the stage with most layers.

    In turn: products with weights but those of routed experts, scores and weighted values of
    attention, routed experts.
    """
    model, work, chip = job.model, job.workload, job.place.chip
    tokens = table.micro_batch * (work.seq_len / table.context)
    wide = model.ffn / table.tensor
    fullness = (1 + constants.half_tokens / tokens) * (1 + constants.half_width / wide)
    slowest = np.ceil(model.layers / table.pipeline) * table.pipeline / model.layers
    one = tokens * slowest / (table.tensor * table.pipeline) * fullness / constants.efficiency
    rate, plain = chip.rate(work.compute), chip.rate("bf16")
    rate *= constants.narrow_efficiency if rate > plain else 1.0
    routed = 2.0 * model.moe_layers * model.experts_per_token * model.expert_params
    attention = model.attention_flops(work.seq_len)
    return (
        (2.0 * model.active_params - routed) * one / rate,
        attention * one / (plain * constants.attention_efficiency),
        routed * one / (rate * constants.expert_efficiency),
    )


def _tensor_s(
    table: LayoutTable, job: Job, constants: Constants, links: MeshLinks,
    per_stage: Floats, tokens: Floats, repeated: Floats,
) -> Floats:  # fmt: skip
    """Gather and scatter activations around attention and MLP, forward and backward."""
    size = tokens * job.model.hidden * 2.0
    one = links.tensor.gather_s(size, constants, job.place.chips)
    # Two gathers and two scatters each way; recomputation repeats those forward.
    count = 8.0 + 4.0 * np.where(repeated >= 1, 1.0, 0.5 * (repeated > 0))
    seconds: Floats = per_stage * count * one * (1 - constants.tensor_overlap)
    return seconds


def _context_s(
    table: LayoutTable, job: Job, constants: Constants, links: MeshLinks,
    per_stage: Floats, tokens: Floats, busy: Floats,
) -> Floats:  # fmt: skip
    """Pass keys and values around a ring of sequence shards, behind attention where it can."""
    model = job.model
    width = 2 * model.kv_heads * model.head_dim / np.minimum(table.tensor, model.kv_heads)
    size = tokens * table.context * width * 2.0
    one = links.context.gather_s(size, constants, job.place.chips)
    seconds = 3.0 * per_stage * one
    exposed: Floats = seconds - np.minimum(seconds * constants.tensor_overlap, busy)
    return exposed


def _exchange_s(
    table: LayoutTable, job: Job, constants: Constants, links: MeshLinks,
    tokens: Floats, repeated: Floats,
) -> Floats:  # fmt: skip
    """Send tokens to their experts and back, in each layer of experts."""
    model = job.model
    local = tokens / table.tensor * max(model.experts_per_token, 1) * model.hidden * 2.0
    ring = job.place.chip.kind == "tpu"
    one = links.expert.exchange_s(local, constants, job.place.chips, ring)
    seconds: Floats = model.moe_layers / table.pipeline * (4.0 + 2.0 * (repeated >= 1)) * one
    return seconds


def _weights_s(table: LayoutTable, job: Job, constants: Constants, links: MeshLinks) -> Floats:
    """Gather weights forward and backward, scatter gradients, once per micro-batch."""
    dense, routed = held_params(table, job)
    dense_group, routed_group = weight_groups(table, job)
    size = np.where(dense_group > 1, dense, 0.0) + np.where(routed_group > 1, routed, 0.0)
    # Gradients are scattered in the format of weights.
    volume = size * job.workload.weight_bytes
    seconds: Floats = 3.0 * links.weights.gather_s(volume, constants, job.place.chips)
    return seconds


def _gradients_s(table: LayoutTable, job: Job, constants: Constants, links: MeshLinks) -> Floats:
    """Sum gradients over replicas: a scatter and a gather of what a chip holds."""
    dense, routed = held_params(table, job)
    dense_group, routed_group = weight_groups(table, job)
    dense_copies, routed_copies = replicas(table, job)
    held = np.where(dense_copies > 1, dense / dense_group, 0.0)
    held = held + np.where(routed_copies > 1, routed / routed_group, 0.0)
    volume = held * job.workload.grad_bytes
    seconds: Floats = 2.0 * links.data.gather_s(volume, constants, job.place.chips)
    return seconds


def _stages_s(
    table: LayoutTable, job: Job, constants: Constants, links: MeshLinks,
    tokens: Floats, steps: Floats,
) -> Floats:  # fmt: skip
    """Send activations to the next stage and gradients back."""
    chip = job.place.chip
    crowd = 1 + (job.place.chips / constants.congestion_chips) ** constants.congestion_power
    network = chip.network_bytes_per_s * constants.stage_share / crowd
    rate = np.where(links.stage_crosses, network, chip.link_bytes_per_s * constants.link_share)
    size = tokens * job.model.hidden * 2.0 / table.tensor
    one = size / rate + constants.stage_latency_s
    count = 2.0 * table.interleave * (steps + table.pipeline - 1)
    return np.where(table.pipeline > 1, count * one, 0.0)


def _host_s(
    table: LayoutTable, job: Job, constants: Constants, per_stage: Floats, tokens: Floats
) -> Floats:
    """Send inputs, queries, keys and values of each layer to the host and back."""
    model = job.model
    width = model.hidden + (model.heads + 2 * model.kv_heads) * model.head_dim
    size = 2.0 * 2.0 * width * tokens / table.tensor * per_stage
    is_offloaded = table.remat == REMATS.index("offload")
    return np.where(is_offloaded, size / constants.host_bytes_per_s, 0.0)


def _optimizer_s(table: LayoutTable, job: Job) -> Floats:
    """Read and write weights, gradients and optimizer state once."""
    dense, routed = held_params(table, job)
    dense_group, routed_group = weight_groups(table, job)
    dense_copies, routed_copies = replicas(table, job)
    owned = dense / dense_group / np.where(table.zero > 0, dense_copies, 1.0)
    owned = owned + routed / routed_group / np.where(table.zero > 0, routed_copies, 1.0)
    work = job.workload
    volume = 2.0 * owned * (work.optimizer_bytes + work.weight_bytes + work.grad_bytes)
    seconds: Floats = volume / job.place.chip.hbm_bytes_per_s
    return seconds

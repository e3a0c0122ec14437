"""Seconds of serving: prefill of the prompts and one decoded token of all sequences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sharding.collectives import mesh_links
from models.sharding.constants import DEFAULT, Z90, Constants
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.memory import memory_use

Floats = NDArray[np.float64]
_MEMORY_SHARE = 0.8
"""Share of the memory bandwidth that decoding reaches."""


@dataclass(frozen=True)
class ServeCost:
    """Seconds of serving under each layout; arrays of shape (n_layouts,)."""

    prefill: Floats
    """Products of the prompts that one replica computes together."""
    prefill_collectives: Floats
    """Their collectives."""
    decode_memory: Floats
    """Reading weights and cache, or computing where that takes longer, per token."""
    decode_collectives: Floats
    """Their collectives, per token."""
    output_len: int
    """Tokens that a sequence produces."""
    sequences: Floats
    """Sequences of a replica."""
    spread: float
    """Standard deviation of the log of real over predicted."""

    @property
    def ttft_s(self) -> Floats:
        """Time to the first token of one sequence: its prompt alone, and one decoded token."""
        alone = (self.prefill + self.prefill_collectives) / self.sequences
        return alone + self.tpot_s

    @property
    def tpot_s(self) -> Floats:
        """Time per produced token."""
        return self.decode_memory + self.decode_collectives

    @property
    def step_s(self) -> Floats:
        """Time of the whole batch: prefill, then every token."""
        total = self.prefill + self.prefill_collectives + self.output_len * self.tpot_s
        return np.asarray(total)

    @property
    def low_s(self) -> Floats:
        """10 % quantile."""
        return self.step_s * float(np.exp(-Z90 * self.spread))

    @property
    def high_s(self) -> Floats:
        """90 % quantile."""
        return self.step_s * float(np.exp(Z90 * self.spread))

    def terms(self) -> dict[str, Floats]:
        """Return the seconds of the whole batch by name."""
        return {
            "prefill": self.prefill,
            "prefill_collectives": self.prefill_collectives,
            "decode_memory": self.decode_memory * self.output_len,
            "decode_collectives": self.decode_collectives * self.output_len,
        }


def serve_cost(table: LayoutTable, job: Job, constants: Constants = DEFAULT) -> ServeCost:
    """Return what serving takes under each layout.

    Weights stay where they are; activations are summed twice per layer.

    Source: Pope et al. (2022), "Efficiently Scaling Transformer Inference".
    """
    model, work, chip = job.model, job.workload, job.place.chip
    links, chips = mesh_links(table, job), job.place.chips
    sequences = table.micro_batch.astype(float)
    prompt = sequences * work.seq_len
    split = table.tensor * (table.expert if job.has_expert_axis else 1)
    rate = chip.rate(work.compute) * constants.efficiency * split
    forward = 2.0 * model.active_params + model.attention_flops(work.seq_len)
    prefill = forward * prompt / rate
    layer = prompt * model.hidden * 2.0
    prefill_sums = 4.0 * model.layers * links.tensor.gather_s(layer, constants, chips)

    use = memory_use(table, job, constants)
    # A batch touches few experts when it is small: never more than it has visits.
    visits = sequences * max(model.experts_per_token, 1)
    touched = np.minimum(visits / max(model.experts, 1), 1.0) if model.experts else 1.0
    routed = model.routed_params / model.params
    weights = use.weights * (1 - routed + routed * touched)
    read = (weights + use.cache) / (chip.hbm_bytes_per_s * _MEMORY_SHARE)
    compute = 2.0 * model.active_params * sequences / rate
    token = sequences * model.hidden * 2.0
    sums = 4.0 * model.layers * links.tensor.gather_s(token, constants, chips)
    ring = chip.kind == "tpu"
    sent = token * max(model.experts_per_token, 1) / table.tensor
    sums = sums + 2.0 * model.moe_layers * links.expert.exchange_s(sent, constants, chips, ring)
    return ServeCost(
        prefill, prefill_sums * (1 - constants.tensor_overlap), np.maximum(read, compute), sums,
        work.output_len, sequences, constants.time_spread,
    )  # fmt: skip

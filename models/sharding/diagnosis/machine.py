"""Chips as the generator has them: what they really reach, and what is wrong with them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from models.sharding.collectives import Links, mesh_links
from models.sharding.diagnosis.base import Kind
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable

_TILE = 256
"""Rows and columns of the arithmetic unit: smaller matrices are padded to it."""
_FILL_S = 2e-6
"""Seconds until a product runs at full rate."""


@dataclass(frozen=True)
class Axis:
    """What transfers over one mesh axis run on."""

    size: int
    link: float
    """Bytes/s over links; infinite where they are not the limit."""
    network: float
    """Bytes/s over the network; infinite where it is not left."""
    alpha_s: float
    """Seconds per hop."""

    def seconds(self, volume: float) -> float:
        """Return seconds of a ring: start-up and transfer add up (alpha-beta)."""
        if self.size == 1:
            return 0.0
        rate = min(self.link, self.network)
        return self.alpha_s * (self.size - 1) + volume * (self.size - 1) / self.size / rate


@dataclass(frozen=True)
class Machine:
    """Rates that one site reaches, and its faults."""

    flops: float
    """FLOP/s of large products."""
    hbm: float
    """Bytes/s."""
    axes: dict[Kind, Axis]
    kernel_s: float
    """Host time per launched kernel."""
    kernels_per_layer: int
    """Kernels that one pass of one layer launches."""
    tensor_hidden: float
    """Share of the transfers over tensor that chunked products hide."""
    memory_share: float = 1.0
    """Bytes that the program really needs over counted ones."""
    is_prefetching: bool = True
    """Whether transfers of weights and gradients run beside products."""
    stall_s: float = 0.0
    """Waiting for input, per step."""
    straggler: float = 1.0
    """How much longer the slowest chip computes."""
    imbalance: float = 1.0
    """Tokens of the busiest expert shard over the mean."""
    relayout_bytes: float = 0.0
    """Laid out anew per layer, pass and micro-batch."""
    without: frozenset[Kind] = field(default_factory=frozenset)
    """What is taken away, for accounting."""

    def product_s(self, flops: float, rows: float, columns: float) -> float:
        """Return seconds of a product, padded to tiles."""
        if flops <= 0 or "compute" in self.without:
            return 0.0
        padded = 1.0
        for length in (rows, columns):
            padded *= math.ceil(max(length, 1.0) / _TILE) * _TILE / max(length, 1.0)
        # Packing and masks keep padding from costing more than this.
        return _FILL_S + flops * min(padded, 4.0) / self.flops

    def memory_s(self, size: float) -> float:
        """Return seconds of reading or writing bytes."""
        return 0.0 if "hbm" in self.without else size / self.hbm

    def transfer_s(self, kind: Kind, volume: float) -> float:
        """Return seconds of a ring over an axis."""
        if kind in self.without:
            return 0.0
        axis = self.axes[kind]
        if "network" in self.without and math.isfinite(axis.network):
            if not math.isfinite(axis.link):
                return 0.0
            axis = replace(axis, network=math.inf)
        return axis.seconds(volume)

    @property
    def launch_s(self) -> float:
        """Host time per pass of one layer."""
        return 0.0 if "launch" in self.without else self.kernel_s * self.kernels_per_layer


def draw_machine(job: Job, layout: Layout, random: np.random.Generator) -> Machine:
    """Draw a healthy site: shares of the peaks are those of this site, not of the cost model."""
    chip = job.place.chip
    table = LayoutTable.of([layout])
    links = mesh_links(table, job)
    reached, crossing = random.uniform(0.7, 0.95), random.uniform(0.6, 0.9)
    axes: dict[Kind, Axis] = {}
    ringed: tuple[tuple[Kind, Links], ...] = (
        ("tensor", links.tensor), ("context", links.context), ("expert", links.expert),
        ("fsdp", links.weights), ("data", links.data),
    )  # fmt: skip
    for kind, found in ringed:
        network = float(found.network_bytes_per_s[0]) * crossing
        alpha = float(random.uniform(3e-6, 10e-6) if math.isfinite(network) else 1e-6)
        link = float(found.link_bytes_per_s[0]) * reached
        axes[kind] = Axis(int(found.size[0]), link, network, alpha)
    crosses = bool(links.stage_crosses[0])
    network = chip.network_bytes_per_s * crossing if crosses else math.inf
    link = math.inf if crosses else chip.link_bytes_per_s * reached
    # A transfer to one neighbour: Axis takes the share (n - 1) / n of a ring, so n is large.
    axes["pipeline"] = Axis(1 if layout.pipeline == 1 else 2, 0.5 * link, 0.5 * network, 1e-5)
    is_tpu = chip.kind == "tpu"
    return Machine(
        flops=chip.rate(job.workload.compute) * random.uniform(0.55, 0.8),
        hbm=chip.hbm_bytes_per_s * random.uniform(0.7, 0.9),
        axes=axes,
        # A TPU runs whole compiled programs: next to nothing is launched per layer.
        kernel_s=float(random.uniform(2e-7, 1e-6) if is_tpu else random.uniform(2e-6, 6e-6)),
        kernels_per_layer=int(random.integers(12, 30)),
        tensor_hidden=float(random.uniform(0.1, 0.5)),
        imbalance=float(random.uniform(1.0, 1.15)),
        memory_share=float(random.uniform(0.9, 1.15)),
    )

"""Seconds of ring collectives over what each mesh axis runs on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.sharding.constants import Constants
from models.sharding.job import Job
from models.sharding.layout import LayoutTable

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Links:
    """What one mesh axis of each layout runs on; arrays of shape (n_layouts,)."""

    size: Floats
    link_bytes_per_s: Floats
    """Peak over links; infinite where the axis has size 1."""
    network_bytes_per_s: Floats
    """Peak over the network, of all NICs that the axis uses; infinite where it does not leave."""
    hops: Floats

    def rate(self, constants: Constants, chips: int) -> Floats:
        """Return the rate that a ring reaches, in bytes/s per chip."""
        crowd = 1 + (chips / constants.congestion_chips) ** constants.congestion_power
        network = self.network_bytes_per_s * constants.network_share / crowd
        reached: Floats = np.minimum(self.link_bytes_per_s * constants.link_share, network)
        return reached

    def gather_s(self, gathered_bytes: Floats, constants: Constants, chips: int) -> Floats:
        """Return seconds of an all-gather (or reduce-scatter) to this many bytes per chip.

        The larger of latency and volume over rate, which "How to Scale Your Model" (Austin et
        al. 2025) states for rings.
        """
        share = (self.size - 1) / self.size
        latency = np.where(
            np.isfinite(self.network_bytes_per_s),
            constants.network_latency_s,
            constants.link_latency_s,
        )
        seconds = gathered_bytes * share / self.rate(constants, chips)
        return np.where(self.size > 1, np.maximum(seconds, self.hops * latency), 0.0)

    def exchange_s(
        self, local_bytes: Floats, constants: Constants, chips: int, ring: bool
    ) -> Floats:
        """Return seconds of an all-to-all of this many bytes per chip.

        A quarter of the all-gather on a ring; on a switch each chip sends its share once.
        """
        gathered = local_bytes * (self.size / 4 if ring else 1.0)
        return self.gather_s(gathered, constants, chips)


@dataclass(frozen=True)
class MeshLinks:
    """Links of all axes of many layouts."""

    tensor: Links
    context: Links
    expert: Links
    weights: Links
    """What gathers weights: `fsdp` x `fsdp_transpose` x `context`, on a torus x `expert`."""
    data: Links
    stage_crosses: NDArray[np.bool_]
    """Whether transfers between stages leave a domain."""


def mesh_links(table: LayoutTable, job: Job) -> MeshLinks:
    """Lay the axes of each layout onto the slice, the busiest innermost.

    On GPUs: tensor, context, then the batch (weights before replicas), stages outermost, as
    Megatron orders its ranks; experts run over the innermost chips of a stage.
    """
    place = job.place
    if place.chip.kind == "gpu":
        inner = np.ones(table.size)
        tensor, inner = _switched(job, table.tensor, inner)
        context, inner = _switched(job, table.context, inner)
        # Where weights are sharded, the shards of a sequence hold shards of weights too.
        joint = np.where(table.weight_shards > 1, table.weight_shards * table.context, 1)
        weights, _ = _switched(job, joint, inner / np.where(joint > 1, table.context, 1))
        inner = inner * table.weight_shards
        data, inner = _switched(job, table.data, inner)
        expert, _ = _switched(job, table.expert, np.ones(table.size))
        return MeshLinks(tensor, context, expert, weights, data, inner >= place.chip.domain)
    pods = place.pods
    data_pods = np.gcd(table.data, pods)
    shard_pods = pods // data_pods
    columns = np.stack(
        [
            table.tensor, table.context, table.expert,
            table.weight_shards // np.maximum(np.gcd(table.weight_shards, shard_pods), 1),
            table.data // data_pods,
        ],
        axis=1,
    )  # fmt: skip
    unique, back = np.unique(columns, axis=0, return_inverse=True)
    laid = [place.lay(tuple(int(size) for size in row)) for row in unique]
    rates = np.array([[axis.bytes_per_s for axis in row] for row in laid])[back.reshape(-1)]
    hops = np.array([[axis.hops for axis in row] for row in laid])[back.reshape(-1)]
    network = place.chip.network_bytes_per_s
    none = np.full(table.size, np.inf)

    def ici(column: int) -> Links:
        size = columns[:, column].astype(float)
        return Links(size, rates[:, column], none, hops[:, column])

    # Over pods each chip of a pod moves its own share of what the whole pod holds.
    per_pod = columns[:, 3] * columns[:, 2] * columns[:, 1]
    crosses = np.where(shard_pods > 1, network * per_pod, np.inf)
    weights = Links(
        (per_pod * shard_pods).astype(float),
        _joined(_joined(rates[:, 3], rates[:, 2]), rates[:, 1]),
        crosses,
        hops[:, 3] + hops[:, 2] + hops[:, 1] + shard_pods - 1,
    )
    data = Links(
        table.data.astype(float),
        rates[:, 4],
        np.where(data_pods > 1, network, np.inf),
        hops[:, 4] + data_pods - 1,
    )
    return MeshLinks(ici(0), ici(1), ici(2), weights, data, np.zeros(table.size, dtype=np.bool_))


def _joined(first: Floats, second: Floats) -> Floats:
    """Add the rates of two axes that one collective runs over; an unused one adds nothing."""
    both = np.where(np.isfinite(first), first, 0.0) + np.where(np.isfinite(second), second, 0.0)
    return np.where(both > 0, both, np.inf)


def _switched(job: Job, sizes: NDArray[np.int64], inner: Floats) -> tuple[Links, Floats]:
    """Lay one axis over NVLink domains, `inner` chips already being used by inner axes."""
    chip = job.place.chip
    size = sizes.astype(float)
    members = np.maximum(np.minimum(size, chip.domain / inner), 1.0)
    leaves = (size > 1) & (inner * size > chip.domain)
    link = np.where(size > 1, chip.link_bytes_per_s, np.inf)
    link = np.where(leaves & (members <= 1), np.inf, link)
    network = np.where(leaves, chip.network_bytes_per_s * members, np.inf)
    return Links(size, link, network, size), inner * size

"""Seconds of one collective along given axes of a layout, at the rates of `collectives.py`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.sharding.collectives import Floats, Links, mesh_links
from models.sharding.constants import Constants
from models.sharding.job import Job
from models.sharding.layout import Bools, Layout, LayoutTable
from models.sharding.profile.base import CollectiveKind

CollectiveSeconds = Callable[[CollectiveKind, tuple[str, ...], int, float], float]
"""Kind, axes, chips of a group, bytes of the larger of operand and result -> seconds."""


def collective_seconds(job: Job, layout: Layout, constants: Constants) -> CollectiveSeconds:
    """Return what times one run of a collective of a layout.

    On a torus axes lie on dimensions of their own, so what runs over several has the rates of
    all; in switched domains it has that of the slowest. Unknown axes count as the slowest of the
    layout. A sum takes a scatter and a gather.
    """
    parts = _axis_links(job, layout)
    chips, is_torus = job.place.chips, job.place.chip.kind == "tpu"

    def seconds(kind: CollectiveKind, axes: tuple[str, ...], group: int, size: float) -> float:
        known = [parts[axis] for axis in axes if axis in parts]
        links = _joined(known or [_slowest(list(parts.values()))], group, is_torus)
        volume = np.array([size])
        if kind == "all-reduce":
            found = 2 * links.gather_s(volume, constants, chips)
        elif kind == "all-to-all":
            found = links.exchange_s(volume, constants, chips, is_torus)
        elif kind == "collective-permute":
            # Both directions of a ring carry a gather, one carries a shift.
            one_way = job.place.chip.link_bytes_per_s * constants.link_share
            rate = np.minimum(links.rate(constants, chips), one_way)
            found = volume / rate + constants.link_latency_s
        else:
            found = links.gather_s(volume, constants, chips)
        return float(found[0])

    return seconds


def _axis_links(job: Job, layout: Layout) -> dict[str, Links]:
    """Return what each axis above 1 runs on alone."""
    table = LayoutTable.of([layout])
    mesh = mesh_links(table, job)
    is_torus = job.place.chip.kind == "tpu"
    shards = mesh.weights
    if is_torus:
        # `weights` joins the rates of all axes that gather weights: take the others off.
        shared = [mesh.context, mesh.expert]
        rate = shards.link_bytes_per_s - sum(_finite(one.link_bytes_per_s) for one in shared)
        rate = np.where(rate > 0, rate, np.inf)
        hops = shards.hops - mesh.context.hops - mesh.expert.hops
        size = table.weight_shards.astype(np.float64)
        shards = Links(size, rate, shards.network_bytes_per_s, hops)
    parts = {
        "tensor": mesh.tensor,
        "context": mesh.context,
        "expert": mesh.expert,
        "data": mesh.data,
        "fsdp": shards,
        "fsdp_transpose": shards,
        "pipeline": _stages(job, mesh.stage_crosses),
    }
    return {axis: links for axis, links in parts.items() if getattr(layout, axis) > 1}


def _stages(job: Job, crosses: Bools) -> Links:
    chip = job.place.chip
    one = np.ones(1)
    link = chip.link_bytes_per_s * (2.0 if chip.kind == "tpu" else 1.0)
    network = np.where(crosses, chip.network_bytes_per_s, np.inf)
    return Links(one, one * link, network, one)


def _finite(rates: Floats) -> Floats:
    return np.where(np.isfinite(rates), rates, 0.0)


def _joined(parts: list[Links], group: int, is_torus: bool) -> Links:
    """Join axes into one ring of a group; the two axes of weights are one already."""
    distinct = list({id(one): one for one in parts}.values())
    rates = [one.link_bytes_per_s for one in distinct]
    added = sum((_finite(rate) for rate in rates), np.zeros(1))
    link = np.where(added > 0, added, np.inf) if is_torus else np.min(rates, axis=0)
    network = np.min([one.network_bytes_per_s for one in distinct], axis=0)
    hops = sum((one.hops for one in distinct), np.zeros(1))
    return Links(np.array([float(group)]), link, network, hops)


def _slowest(parts: list[Links]) -> Links:
    def rate(one: Links) -> float:
        return float(np.minimum(one.link_bytes_per_s, one.network_bytes_per_s)[0])

    if not parts:
        free = np.full(1, np.inf)
        return Links(np.ones(1), free, free, np.zeros(1))
    return min(parts, key=rate)

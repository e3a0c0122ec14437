"""Large slices compiled small: what repeats is left out, and said."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

from models.sharding.divisors import near_divisors
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.specs.model import ModelSpec

MOST_DEVICES = 512
"""Virtual devices that one CPU compiles for in seconds (measured: 70B on 512, 7.7 s)."""
_Axis = Literal["data", "fsdp", "fsdp_transpose", "context", "pipeline", "expert", "tensor"]
_ORDER: tuple[_Axis, ...] = (
    "data", "fsdp", "fsdp_transpose", "context", "pipeline", "expert", "tensor",
)  # fmt: skip


class Shrunk(NamedTuple):
    """A job and a layout as they are compiled."""

    job: Job
    layout: Layout
    notes: tuple[str, ...]


def chips_of(layout: Layout, job: Job) -> int:
    """Return the chips of a layout."""
    return int(LayoutTable.of([layout]).chips(job)[0])


def shrink(job: Job, layout: Layout, most: int = MOST_DEVICES) -> Shrunk:
    """Make the axes smaller until the devices suffice: replicas first, then weight shards.

    The batch shrinks with its shards, so that a device computes as many tokens as before. What
    the smaller axes split is larger per device: `notes` name them.
    """
    small, changed = layout, []
    for axis in _ORDER:
        before = getattr(small, axis)
        while getattr(small, axis) > 1 and chips_of(small, job) > most:
            size = getattr(small, axis)
            factor = next(f for f in range(2, size + 1) if size % f == 0)
            small = replace(small, **{axis: size // factor})
            small = replace(small, expert=_experts_within(small, job))
        if getattr(small, axis) != before:
            changed.append(f"{axis} {before} to {getattr(small, axis)}")
    if not changed:
        return Shrunk(job, layout, ())
    if small.expert != layout.expert and not any(c.startswith("expert ") for c in changed):
        changed.append(f"expert {layout.expert} to {small.expert}")
    rows = LayoutTable.of([layout, small]).batch_shards(job)
    work = job.workload
    batch = max(work.global_batch * int(rows[1]) // int(rows[0]), 1)
    smaller = Job(job.model, work.model_copy(update={"global_batch": batch}), job.place)
    note = (
        f"compiled on {chips_of(small, job)} of {chips_of(layout, job)} chips "
        f"({', '.join(changed)}; batch {work.global_batch} to {batch})"
    )
    return Shrunk(smaller, small, (note,))


def _experts_within(layout: Layout, job: Job) -> int:
    """Return the largest expert axis that chips of a stage still hold, on GPUs."""
    expert = layout.expert
    if job.has_expert_axis:
        return expert
    stage = chips_of(layout, job) // layout.pipeline
    while stage % expert:
        expert = int(near_divisors(layout.expert, expert - 1).split(" or ")[0])
    return expert


def per_device(job: Job, layout: Layout) -> Shrunk:
    """Split a layout of chips over the devices of each chip, where it has several.

    Batch shards take the devices where the batch divides, else heads, else the sequence.
    """
    devices = job.place.chip.devices_per_chip
    if devices == 1:
        return Shrunk(job, layout, ())
    model, work = job.model, job.workload
    shards = int(LayoutTable.of([layout]).batch_shards(job)[0])
    if work.global_batch % (shards * layout.micro_batch * devices) == 0:
        axis: _Axis = "fsdp" if work.is_training else "data"
    elif layout.micro_batch % devices == 0:
        axis = "fsdp" if work.is_training else "data"
        layout = replace(layout, micro_batch=layout.micro_batch // devices)
    elif _tensor_divides(model, layout.tensor * devices):
        axis = "tensor"
    else:
        axis = "context"
    more = replace(layout, **{axis: getattr(layout, axis) * devices})
    note = f"{devices} devices per chip: {axis} {getattr(layout, axis)} to {getattr(more, axis)}"
    return Shrunk(job, more, (note,))


def _tensor_divides(model: ModelSpec, tensor: int) -> bool:
    kv = model.kv_heads
    return model.heads % tensor == 0 and (kv % tensor == 0 or tensor % kv == 0)

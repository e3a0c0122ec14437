"""A trace of a profiler -> Profile: medians over its steps, on the device that it tells most of."""

from __future__ import annotations

import hashlib
import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence

from models.errors import DatasetUnreadableError
from models.sharding.job import Job
from models.sharding.layout import AXES, Layout
from models.sharding.profile.base import (
    Collective,
    CollectiveKind,
    Op,
    Profile,
    spread_s,
    trusted,
)
from models.sharding.profile.hlo.comms import is_collective
from models.sharding.profile.hlo.groups import (
    axes_of_groups,
    axes_of_pairs,
    replica_groups,
    source_target_pairs,
)
from models.sharding.profile.hlo.parse import parse_instruction
from models.sharding.profile.trace.events import Event, Plane
from models.sharding.profile.trace.timeline import (
    DeviceTime,
    Ran,
    Span,
    device_times,
    join_halves,
    length,
    outside,
    union,
    within,
)

_MATMUL = ("convolution", "dot", "gemm", "matmul", "custom fusion", "ynn")
_TOP = 12
_SPREAD = 0.1


def profile_of_trace(
    planes: Sequence[Plane], job: Job | None = None, layout: Layout | None = None, data: bytes = b""
) -> Profile:
    """Return what a trace says of one step.

    An op computes or waits for memory by its category; where the trace has FLOPs and bytes and
    the chip is known, by whichever takes longer at peak rates. Of a collective only what no other
    op covers is exposed.

    Args:
        planes: As `read_xspace` or `read_chrome` gives them.
        job: For the rates of its chip.
        layout: To name the axes of collectives, where the trace has their instructions.
        data: What was read, for the digest.

    Raises:
        DatasetUnreadableError: No op of a compiled program is in it.
    """
    devices = device_times(planes)
    if not devices:
        raise DatasetUnreadableError(
            "the trace holds no op of a compiled program (no device plane, no event with hlo_op); "
            "take it while a jitted step runs, with jax.profiler.trace"
        )
    device = max(devices, key=lambda one: len(one.ops))
    warnings = _doubts(device, devices)
    ops = within(device.ops, device.steps)
    count = len(device.steps)
    if not ops or not count:
        raise DatasetUnreadableError(
            f"the trace of {device.device} has {count} steps and no op within them; mark steps "
            "with jax.profiler.StepTraceAnnotation and let each end in block_until_ready"
        )
    computing = union((one.start_s, one.end_s) for one in ops if one.kind is None)
    sending = [one for one in join_halves(ops) if one.kind]
    busy = length(union((one.start_s, one.end_s) for one in ops))
    whole = length(device.steps)
    step_s = statistics.median(end - start for start, end in device.steps)
    # Means of steps are stretched to the median one, so that parts add up to it.
    scale = step_s / whole
    products, waits, flops, moved = _work(ops, job)
    collectives = _collectives(sending, computing, scale, count, layout)
    exposed = length(outside(union((a.start_s, a.end_s) for a in ops if a.kind), computing))
    profile = Profile(
        "xprof",
        step_s=step_s,
        spread_s=spread_s([end - start for start, end in device.steps]),
        compute_s=products * scale,
        hbm_s=waits * scale,
        collectives=collectives,
        exposed_comm_s=exposed * scale,
        idle_s=max(whole - busy, 0.0) * scale,
        flops=flops / count if flops else None,
        hbm_traffic_bytes=moved / count if moved else None,
        duty_cycle=min(busy / whole, 1.0),
        top_ops=_top_ops(ops, scale, count),
        layout=layout,
        chips=job.place.chips if job else None,
        warnings=tuple(warnings),
        digest=hashlib.sha256(data).hexdigest() if data else "",
    )
    return trusted(profile, "measured")


def _doubts(device: DeviceTime, devices: Sequence[DeviceTime]) -> list[str]:
    said = []
    if device.device.startswith("cpu:"):
        said.append("taken on CPU: times are those of virtual devices, not of a chip")
    lengths = [end - start for start, end in device.steps]
    if len(lengths) > 1 and max(lengths) > (1 + _SPREAD) * statistics.median(lengths):
        said.append(
            f"steps take {min(lengths):.3g} to {max(lengths):.3g} s: the median of "
            f"{len(lengths)} is given"
        )
    elif len(lengths) == 1:
        said.append("the trace has one step: its time may be a first step's")
    few = [one.device for one in devices if len(one.ops) < 0.9 * len(device.ops)]
    if few:
        said.append(f"{len(few)} of {len(devices)} devices show fewer ops: {', '.join(few[:3])}")
    return said


def _stat(event: Event, *names: str) -> float:
    """Return the first of some stats that is a number above 0; 0 where there is none."""
    for name in names:
        value = event.stats.get(name)
        try:
            number = float(value) if value is not None else 0.0
        except ValueError:
            continue
        if 0 < number < 1e30:
            return number
    return 0.0


def _is_product(event: Event, name: str, flops: float, moved: float, job: Job | None) -> bool:
    if job and flops and moved:
        chip = job.place.chip
        return flops / chip.rate(job.workload.compute) >= moved / chip.hbm_bytes_per_s
    words = f"{event.stats.get('hlo_category', '')} {name}".lower()
    return any(word in words for word in _MATMUL)


def _work(ops: Sequence[Ran], job: Job | None) -> tuple[float, float, float, float]:
    """Return seconds of products and of the rest, FLOPs and bytes of all ops that compute.

    Where ops of one device overlap (streams), an overlapped second counts once, as a product.
    """
    flops = moved = 0.0
    products: list[Span] = []
    others: list[Span] = []
    for one in ops:
        if one.kind is not None:
            continue
        done, passed = _stat(one.event, "flops"), _stat(one.event, "bytes_accessed")
        flops, moved = flops + done, moved + passed
        is_product = _is_product(one.event, one.name, done, passed, job)
        (products if is_product else others).append((one.start_s, one.end_s))
    busy = union(products)
    return length(busy), length(outside(union(others), busy)), flops, moved


def _collectives(
    sending: Sequence[Ran], computing: Sequence[Span], scale: float, count: int,
    layout: Layout | None,
) -> tuple[Collective, ...]:  # fmt: skip
    """Return collectives by instruction, the most exposed first."""
    by_name: dict[str, list[Ran]] = defaultdict(list)
    for one in sending:
        by_name[one.name].append(one)
    found = []
    for name, runs in by_name.items():
        kind = runs[0].kind
        assert kind is not None
        bare = [outside([(one.start_s, one.end_s)], computing) for one in runs]
        axes, group, size = _instruction_facts(runs[0].event, layout)
        found.append(
            Collective(
                kind, axes, group, (size or _stat(runs[0].event, "bytes_accessed")) * len(runs)
                / count, len(runs) / count,
                sum(one.end_s - one.start_s for one in runs) * scale,
                sum(map(length, bare)) * scale, name,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda one: -(one.exposed_s or 0.0)))


def _instruction_facts(event: Event, layout: Layout | None) -> tuple[tuple[str, ...], int, float]:
    """Return axes, group size and bytes of a collective whose instruction the trace holds."""
    text = str(event.stats.get("long_name", ""))
    if not text.startswith("%") or " = " not in text:
        return (), 0, 0.0
    mesh: Mapping[str, int] = {axis: getattr(layout, axis) for axis in AXES} if layout else {}
    devices = 1
    for size in mesh.values():
        devices *= size
    try:
        one = parse_instruction(text, 1)
        if not is_collective(one.opcode):
            return (), 0, 0.0
        size_bytes = max((array.size_bytes for array in one.shape.arrays()), default=0.0)
        kind: CollectiveKind | str = one.opcode.removesuffix("-start").removesuffix("-done")
        if kind == "collective-permute":
            return axes_of_pairs(source_target_pairs(one), mesh) if layout else (), 2, size_bytes
        groups = replica_groups(one, max(devices, 1 << 20))
        return axes_of_groups(groups, mesh) if layout else (), max(map(len, groups)), size_bytes
    except DatasetUnreadableError:
        # Profilers shorten long instructions: what is left says nothing of groups.
        return (), 0, 0.0


def _top_ops(ops: Sequence[Ran], scale: float, count: int) -> tuple[Op, ...]:
    by_name: dict[str, list[Ran]] = defaultdict(list)
    for one in ops:
        by_name[one.name].append(one)
    found = []
    for name, runs in by_name.items():
        seconds = sum(one.end_s - one.start_s for one in runs) * scale
        event = runs[0].event
        category = "collective" if runs[0].kind else str(event.stats.get("hlo_category", ""))
        if not category:
            is_product = _is_product(event, name, 0.0, 0.0, None)
            category = "matmul" if is_product else "elementwise"
        found.append(
            Op(
                name, category, seconds,
                _stat(event, "flops") * len(runs) / count or None,
                _stat(event, "bytes_accessed") * len(runs) / count or None,
                "network" if runs[0].kind else None,
            )
        )  # fmt: skip
    return tuple(sorted(found, key=lambda op: -(op.seconds or 0.0))[:_TOP])

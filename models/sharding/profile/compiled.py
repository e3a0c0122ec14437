"""The profile of a compiled program: what it moves is exact, its seconds are modelled."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from models.sharding.constants import DEFAULT, Constants
from models.sharding.job import Job
from models.sharding.layout import AXES, Layout
from models.sharding.profile.base import Collective, CompiledMemory, Op, Profile, Trust, trusted
from models.sharding.profile.hlo.comms import Transfer, fused, transfers
from models.sharding.profile.hlo.counts import BLOCKS, Counts, count_executions
from models.sharding.profile.hlo.flops import Products
from models.sharding.profile.hlo.parse import parse_hlo
from models.sharding.profile.hlo.program import Computation, HloProgram, Instruction
from models.sharding.profile.hlo.schedule import Scheduler
from models.sharding.profile.hlo.traffic import PREFETCHES, kernel_bytes
from models.sharding.profile.links import collective_seconds
from models.sharding.profile.patterns import find_patterns

CompiledSource = Literal["cpu_hlo", "tpu_aot"]
_CYCLES = re.compile(r'"estimated_cycles":"?(-?\d+)')
_SENTINEL = 2**62
_TOP = 12


@dataclass(frozen=True)
class _Work:
    """What one instruction costs a chip in one run."""

    flops: float
    hbm_bytes: float
    compute_s: float
    memory_s: float

    @property
    def seconds(self) -> float:
        return max(self.compute_s, self.memory_s)


class _Timed:
    """A program with the rates of a chip."""

    def __init__(
        self, program: HloProgram, job: Job, layout: Layout, mesh: Mapping[str, int],
        constants: Constants, source: CompiledSource, devices: int,
    ) -> None:  # fmt: skip
        chip = job.place.chip
        self.program, self.devices = program, devices
        self.is_cpu = source == "cpu_hlo"
        self.products = Products(program)
        self.rate = chip.rate(job.workload.compute) * constants.efficiency / devices
        self.memory_rate = chip.hbm_bytes_per_s / devices
        seconds = collective_seconds(job, layout, constants)
        self.transfers: dict[tuple[str, str], list[Transfer]] = {}
        self.sent_s: dict[tuple[str, str], float] = {}
        self.started_by: dict[tuple[str, str], str] = {}
        for one in transfers(program, mesh):
            key = (one.where, one.name)
            size = self.size_bytes(one)
            took = seconds(one.kind, one.axes, one.group_size, size * devices)
            self.transfers.setdefault(key, []).append(one)
            self.sent_s[key] = self.sent_s.get(key, 0.0) + took
            if one.done:
                self.started_by[one.where, one.done] = one.name
        self.work: dict[tuple[str, str], _Work] = {}

    def size_bytes(self, one: Transfer) -> float:
        return one.sent_bytes if self.is_cpu else one.size_bytes

    def work_of(self, where: Computation, one: Instruction) -> _Work:
        key = (where.name, one.name)
        if key not in self.work:
            # What a block runs is counted where it stands.
            flops = 0.0 if one.opcode in BLOCKS else self.products.of(where, one)
            # What a collective reads and writes passes with what it sends.
            moved = 0.0 if key in self.sent_s else kernel_bytes(self.program, where, one)
            if self.is_cpu and flops == 0 and where is not self.program.entry:
                # Casts and chains of elementwise kernels: a chip's compiler fuses them into
                # products. With them a MoE step read 3.9 times what its TPU compile reads.
                moved = 0.0
            # A prefetch passes while something else computes.
            waits = 0.0 if one.opcode in PREFETCHES else moved / self.memory_rate
            self.work[key] = _Work(flops, moved, flops / self.rate, waits)
        return self.work[key]

    def kernel_s(self, where: Computation, one: Instruction) -> float:
        return self.work_of(where, one).seconds

    def transfer_s(self, where: Computation, one: Instruction) -> float | None:
        return self.sent_s.get((where.name, one.name))


def profile_of_hlo(
    text: str,
    job: Job,
    layout: Layout,
    *,
    source: CompiledSource,
    memory: CompiledMemory | None = None,
    cost: Mapping[str, float] | None = None,
    mesh: Mapping[str, int] | None = None,
    constants: Constants = DEFAULT,
) -> Profile:
    """Return what the text of a compiled program says of one step on one chip.

    Collectives, FLOPs and trip counts are counted; seconds are FLOPs, bytes and collectives over
    the rates of the job's chip, under an order: that of the text where it is a schedule with
    asynchronous collectives (TPU), else the best that the data of one loop body allows.
    `compute_s`, `hbm_s` and `exposed_comm_s` add up to `step_s`.

    Args:
        text: `compiled.as_text()`.
        job: Model, workload and the slice whose rates are taken.
        layout: What the program was split by.
        source: Which compiler wrote it.
        memory: `compiled.memory_analysis()`, where it is known.
        cost: `compiled.cost_analysis()`, to warn of what of it must not be believed.
        mesh: Axes and sizes in order, where they are not those of the layout in the order of
            `AXES`; the last axis has neighbouring devices.
        constants: Shares of peak rates, of the literature or fitted on a site.

    Raises:
        DatasetUnreadableError: The text is cut off or garbled.
    """
    program = parse_hlo(text)
    axes = [axis for axis in AXES if axis != "expert" or job.has_expert_axis]
    mesh = mesh or {axis: getattr(layout, axis) for axis in axes if getattr(layout, axis) > 1}
    stages = max(layout.pipeline, 1)
    counts = count_executions(program, scan_length=max(job.model.layers // stages, 1))
    warnings = [*program.warnings, *counts.warnings, *_doubts(text, cost)]
    devices = _devices_per_chip(program, job, mesh, warnings)
    timed = _Timed(program, job, layout, mesh, constants, source, devices)
    is_fixed = program.is_scheduled and (source == "tpu_aot" or bool(timed.started_by))
    scheduler = Scheduler(
        program, counts.trips, timed.kernel_s, timed.transfer_s, timed.started_by, is_fixed
    )
    step_s = scheduler.time(program.entry).total_s
    inside = fused(program)
    runs = [
        (where, one, counts.times[where.name])
        for where, one in program.walk()
        if where.name not in inside and counts.times[where.name] > 0
    ]
    collectives = _collectives(timed, scheduler, counts)
    work = [(timed.work_of(where, one), times) for where, one, times in runs]
    warnings += _missing(timed, collectives, source)
    patterns = find_patterns(program, counts.times, mesh)
    profile = Profile(
        source,
        step_s=step_s or None,
        compute_s=sum(w.seconds * n for w, n in work if w.compute_s >= w.memory_s),
        hbm_s=sum(w.seconds * n for w, n in work if w.compute_s < w.memory_s),
        collectives=collectives,
        exposed_comm_s=sum(one.exposed_s or 0.0 for one in collectives),
        peak_hbm_bytes=memory.peak_bytes * devices if memory else None,
        argument_bytes=memory.argument_bytes * devices if memory else None,
        flops=sum(w.flops * n for w, n in work) * devices,
        hbm_traffic_bytes=sum(w.hbm_bytes * n for w, n in work) * devices,
        top_ops=_top_ops(timed, runs, collectives),
        patterns=patterns,
        trip_counts=tuple(counts.trips.values()),
        layout=layout,
        chips=job.place.chips,
        warnings=tuple(dict.fromkeys(warnings)),
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )
    modelled: dict[str, Trust] = dict.fromkeys(
        ("step_s", "compute_s", "hbm_s", "exposed_comm_s", "hbm_traffic_bytes", "top_ops"),
        "modelled",
    )
    if source == "cpu_hlo":
        # Temporaries and what is fused or scattered are another backend's.
        modelled |= {"peak_hbm_bytes": "modelled", "patterns": "modelled"}
    return trusted(profile, "compiled", **modelled)


def _devices_per_chip(
    program: HloProgram, job: Job, mesh: Mapping[str, int], warnings: list[str]
) -> int:
    """Return how many devices of the program one chip of the job stands for."""
    chips, devices = job.place.chips, program.partitions
    if math.prod(mesh.values()) != devices:
        warnings.append(
            f"the program runs on {devices} devices, the mesh has {math.prod(mesh.values())}: "
            "axes of collectives cannot be told"
        )
    if devices > chips and devices % chips == 0:
        return devices // chips
    if devices != chips:
        warnings.append(f"the program runs on {devices} devices, the slice has {chips} chips")
    return 1


def _doubts(text: str, cost: Mapping[str, float] | None) -> list[str]:
    """Return what compilers write as numbers and is none."""
    said = []
    cycles = [int(found[:20]) for found in _CYCLES.findall(text)] if "_cycles" in text else []
    wrong = sum(not 0 <= one < _SENTINEL for one in cycles)
    if wrong:
        said.append(f"{wrong} of {len(cycles)} estimated_cycles are sentinels; none is used")
    seconds = (cost or {}).get("optimal_seconds")
    if seconds is not None and not 0 <= seconds < math.inf:
        said.append(f"optimal_seconds is {seconds:g}, which is no time; it is not used")
    return said


def _missing(
    timed: _Timed, collectives: tuple[Collective, ...], source: CompiledSource
) -> list[str]:
    said = []
    unknown = [one.name for one in collectives if not one.axes]
    if unknown:
        said.append(
            f"no mesh axes give the groups of {len(unknown)} collectives ({', '.join(unknown[:3])})"
        )
    if timed.products.opaque:
        names = ", ".join(f"{name} ({n})" for name, n in sorted(timed.products.opaque.items()))
        said.append(f"custom calls whose FLOPs cannot be told, counted as none: {names}")
    if source == "cpu_hlo":
        said.append(
            "compiled for CPU: no reduce-scatter appears and temporaries are not the chip's; "
            "memory traffic is that of products and of what runs once per step; collectives are "
            "counted in the program's own format"
        )
    return said


def _collectives(timed: _Timed, scheduler: Scheduler, counts: Counts) -> tuple[Collective, ...]:
    """Return the collectives that run, the most exposed first."""
    found = []
    for (where, name), ones in timed.transfers.items():
        times = counts.times[where]
        if times <= 0:
            continue
        exposed = scheduler.time(timed.program.computations[where]).exposed_s.get(name, 0.0)
        # Several in one fusion share what of it is exposed.
        for one in ones:
            size = timed.size_bytes(one)
            found.append(
                Collective(
                    one.kind, one.axes, one.group_size, size * times * timed.devices, times,
                    timed.sent_s[where, name] * times / len(ones), exposed * times / len(ones),
                    name,
                )
            )  # fmt: skip
    return tuple(sorted(found, key=lambda one: (-(one.exposed_s or 0), -(one.seconds or 0))))


def _top_ops(
    timed: _Timed,
    runs: list[tuple[Computation, Instruction, float]],
    collectives: tuple[Collective, ...],
) -> tuple[Op, ...]:
    """Return what takes the most time; of a collective what is exposed."""
    ops = []
    for where, one, times in runs:
        work = timed.work_of(where, one)
        if work.seconds > 0:
            limit: Literal["compute", "memory"] = (
                "compute" if work.compute_s >= work.memory_s else "memory"
            )
            ops.append(
                Op(
                    one.name, _category(one, work), work.seconds * times,
                    work.flops * times * timed.devices, work.hbm_bytes * times * timed.devices,
                    limit,
                )
            )  # fmt: skip
    ops += [
        Op(one.name, "collective", one.exposed_s, limit="network")
        for one in collectives
        if one.exposed_s
    ]
    return tuple(sorted(ops, key=lambda op: -(op.seconds or 0))[:_TOP])


def _category(one: Instruction, work: _Work) -> str:
    meaning = one.attributes.get("metadata", "").lower()
    if work.flops > 0:
        return "attention" if "attention" in meaning or "attn" in meaning else "matmul"
    if one.opcode in ("copy", "transpose") or one.name.startswith(("copy", "transpose")):
        return "copy"
    return "elementwise"

"""What each source would show of a simulated step: noise, dropped ops, fields that it lacks."""

from __future__ import annotations

import numpy as np

from models.sharding.diagnosis.base import KINDS, Kind
from models.sharding.diagnosis.jobs import needed_bytes
from models.sharding.diagnosis.machine import Machine
from models.sharding.diagnosis.simulate import Ran
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.base import (
    Collective,
    CollectiveKind,
    Op,
    Pattern,
    Profile,
    Source,
    Trust,
)

_LAYOUT: frozenset[Kind] = frozenset({"bubble", "recompute", "capacity", "compute"})
_PROGRAM: frozenset[Kind] = _LAYOUT | {
    "relayout", "tensor", "fsdp", "data", "expert", "network", "pipeline", "context",
}  # fmt: skip
VISIBLE: dict[Source, frozenset[Kind]] = {
    "xprof": frozenset(KINDS) - {"host"},
    "tpu_aot": _PROGRAM,
    "cpu_hlo": _PROGRAM,
    "maxtext_log": _LAYOUT,
}
"""Kinds that a source can tell at all: a compile sees no stall, a log no link."""
_FORMS: dict[Kind, tuple[tuple[CollectiveKind, float], ...]] = {
    "tensor": (("all-gather", 0.5), ("reduce-scatter", 0.5)),
    "fsdp": (("all-gather", 2 / 3), ("reduce-scatter", 1 / 3)),
    "data": (("all-reduce", 1.0),),
    "context": (("all-gather", 1.0),),
    "expert": (("all-to-all", 1.0),),
    "pipeline": (("collective-permute", 1.0),),
}
_DROPPED = 0.1
"""Chance of each op to be missing."""
_NOISE = 0.2
"""Op times are off by up to this share."""


def observe(
    ran: Ran, job: Job, layout: Layout, machine: Machine, source: Source,
    random: np.random.Generator,
) -> Profile:  # fmt: skip
    """Return the profile of a step as one source has it."""
    if source == "xprof":
        return _traced(ran, job, layout, machine, random)
    if source == "maxtext_log":
        known: dict[str, Trust] = {"step_s": "measured", "flops": "modelled"}
        return Profile(
            source, step_s=ran.step_s * random.uniform(0.98, 1.02), layout=layout,
            chips=job.place.chips, trust=known,
        )  # fmt: skip
    patterns = _patterns(ran)
    collectives = _collectives(ran, job, layout, machine, None, random)
    peak = needed_bytes(job, layout, machine.memory_share) * random.uniform(0.95, 1.05)
    return Profile(
        source, collectives=tuple(collectives), flops=ran.spent["flops"],
        peak_hbm_bytes=peak if source == "tpu_aot" else None, patterns=patterns,
        trip_counts=(job.model.layers,), layout=layout, chips=job.place.chips,
    )  # fmt: skip


def _traced(
    ran: Ran, job: Job, layout: Layout, machine: Machine, random: np.random.Generator
) -> Profile:
    spent = ran.spent

    def noisy(value: float) -> float:
        return value * float(random.uniform(1 - _NOISE, 1 + _NOISE))

    def maybe(value: float, chance: float) -> float | None:
        return value if random.random() < chance else None

    waits = _waits(spent["sync"], layout, machine, random)
    collectives = _collectives(ran, job, layout, machine, waits, random)
    exposed = sum(spent[f"{kind}.exposed"] for kind in _FORMS)
    exposed += spent["sync"] + spent["moved"]
    idle = spent["idle"] + spent["stall"]
    has_bubble = random.random() < 0.5
    peak = needed_bytes(job, layout, machine.memory_share)
    # Where stages' waiting has no name it is time in which nothing runs.
    waiting = idle + (0.0 if has_bubble else spent["bubble"])
    duty = 1 - (idle + spent["bubble"]) / ran.step_s
    idle_s = maybe(waiting, 0.6)
    # Laying out anew is a transfer over axes that no name tells, and copies that wait for memory.
    copied = noisy(spent["copy"] - spent["moved"])
    ops = [
        Op("fusion.matmul", "matmul", noisy(spent["compute"] + spent["repeated"])),
        Op("copy", "copy", copied),
        Op("infeed", "infeed", noisy(spent["stall"]) if random.random() < 0.5 else None),
    ]
    if spent["expert.s"]:
        ops.append(
            Op("ragged_dot", "expert", noisy(spent["expert.s"]), flops=spent["expert.flops"])
        )
    kept = [one for one in ops if one.seconds and random.random() >= _DROPPED]
    return Profile(
        "xprof",
        step_s=ran.step_s * float(random.uniform(0.99, 1.01)),
        compute_s=noisy(spent["compute"] + spent["repeated"]),
        hbm_s=maybe(noisy(spent["hbm"]) + copied, 0.85),
        collectives=tuple(collectives),
        exposed_comm_s=maybe(exposed * float(random.uniform(0.95, 1.05)), 0.8),
        bubble_s=noisy(spent["bubble"]) if has_bubble else None,
        idle_s=idle_s,
        peak_hbm_bytes=maybe(peak * float(random.uniform(0.97, 1.03)), 0.8),
        flops=maybe(spent["flops"], 0.7),
        duty_cycle=maybe(duty, 0.8) if idle_s is not None else duty,
        patterns=_patterns(ran) if random.random() < 0.5 else (),
        top_ops=tuple(sorted(kept, key=lambda one: -(one.seconds or 0.0))),
        layout=layout,
        chips=job.place.chips,
    )  # fmt: skip


def _waits(
    total_s: float, layout: Layout, machine: Machine, random: np.random.Generator
) -> dict[Kind | None, float]:
    """Spread waiting for the slowest chip over collectives, whatever their size; None: the sync."""
    kinds = [kind for kind in _FORMS if machine.axes[kind].size > 1 and kind != "pipeline"]
    share = float(random.uniform(0.2, 0.7)) if kinds else 1.0
    waits: dict[Kind | None, float] = {None: total_s * share}
    for kind, part in zip(kinds, random.dirichlet(np.ones(max(len(kinds), 1))), strict=False):
        waits[kind] = total_s * (1 - share) * float(part)
    return waits


def _collectives(
    ran: Ran, job: Job, layout: Layout, machine: Machine,
    waits: dict[Kind | None, float] | None, random: np.random.Generator,
) -> list[Collective]:  # fmt: skip
    """Return the collectives of the program; `waits` None: without times."""
    found = []
    has_seconds = waits is not None
    tells_exposed = random.random() < 0.85
    is_training = job.workload.is_training

    def add(kind: CollectiveKind, axes: tuple[str, ...], size: int, moved: float, count: float,
            seconds: float, exposed: float, name: str) -> None:  # fmt: skip
        if random.random() < _DROPPED:
            return
        factor = float(random.uniform(1 - _NOISE, 1 + _NOISE))
        found.append(
            Collective(
                kind, axes, size, moved, count,
                seconds * factor if has_seconds else None,
                exposed * factor if has_seconds and tells_exposed else None, name,
            )
        )  # fmt: skip

    for axis, forms in _FORMS.items():
        total, seen = ran.spent[f"{axis}.total"], ran.spent[f"{axis}.exposed"]
        count, moved = ran.spent[f"{axis}.count"], ran.spent[f"{axis}.bytes"]
        if not count:
            continue
        if axis == "data" or (axis == "tensor" and not is_training):
            moved /= 2.0
        if axis == "expert" and is_training and job.has_expert_axis:
            moved /= layout.expert / 4
        wait = (waits or {}).get(axis, 0.0)
        names = _axes(axis, layout, job)
        shapes = forms if is_training or axis != "tensor" else (("all-reduce", 1.0),)
        for kind, share in shapes:
            add(kind, names, machine.axes[axis].size, moved * share, count * share,
                (total + wait) * share, (seen + wait) * share, f"{axis}.{kind}")  # fmt: skip
    if ran.spent["copy.bytes"]:
        moved, seconds = ran.spent["copy.bytes"], ran.spent["moved"]
        add("all-to-all", (), job.place.chips, moved, float(job.model.layers), seconds, seconds,
            "all-to-all.7")  # fmt: skip
    used = tuple(
        axis for axis in ("data", "fsdp", "tensor", "context") if getattr(layout, axis) > 1
    )
    if is_training and used:
        wait = (waits or {}).get(None, 0.0)
        add("all-reduce", used, job.place.chips, 16.0, 2.0, wait + 2e-5, wait + 2e-5, "norm")
    return found


def _axes(axis: Kind, layout: Layout, job: Job) -> tuple[str, ...]:
    if axis != "fsdp":
        return (axis,)
    joint = ("fsdp", "context", *(("expert",) if job.has_expert_axis else ()))
    return tuple(one for one in joint if getattr(layout, one) > 1)


def _patterns(ran: Ran) -> tuple[Pattern, ...]:
    wasted = ran.spent["copy.bytes"]
    if not wasted:
        return ()
    return (Pattern("relayout", ("all-to-all.7",), wasted, "constrain the sharding there"),)

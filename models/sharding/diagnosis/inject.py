"""Profiles with injected limits: drawn by seed, labelled by what taking each away really saves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.sharding.diagnosis.base import KINDS, Kind, name_kinds
from models.sharding.diagnosis.jobs import draw_job, fitting
from models.sharding.diagnosis.machine import Machine, draw_machine
from models.sharding.diagnosis.observe import VISIBLE, observe
from models.sharding.diagnosis.simulate import Ran, simulate
from models.sharding.job import Job
from models.sharding.layout import Layout
from models.sharding.profile.base import Profile, Source

_MOST_DRAWS = 150
"""Draws of a job before the generator gives up on a cause."""
_PACE = 0.25
"""Share that products must cost for a step to be called bound by them: below it a step is balanced
between products and what hides behind them, and taking either away alone saves little."""
_SHARES: dict[Source, float] = {"xprof": 0.7, "tpu_aot": 0.1, "cpu_hlo": 0.1, "maxtext_log": 0.1}


@dataclass(frozen=True)
class Injected:
    """One profile and what is wrong with it."""

    id: str
    job: Job
    layout: Layout
    profile: Profile
    causes: tuple[str, ...]
    """What was injected; empty: nothing."""
    labels: frozenset[Kind]
    """What really costs the most."""
    saved: dict[Kind, float]
    """Share of the step that taking each kind away saves, by the generator's own accounting."""


@dataclass(frozen=True)
class Cause:
    """Something to inject."""

    name: str
    kinds: tuple[Kind, ...]
    """What it may show as."""
    wants: frozenset[str]
    """Axes that the layout needs, and `network` or `gpu`."""
    apply: Callable[[Machine, Job, Layout, np.random.Generator], Machine | None]
    """Return the faulty machine; None: it cannot be injected here."""
    is_serving: bool = False
    """Whether jobs that serve are drawn."""
    is_fault: bool = True
    """Whether it is of the site, which no compile and no cost model sees; else of the layout or
    the program."""


def _slow_link(kind: Kind) -> Cause:
    def apply(
        machine: Machine, job: Job, layout: Layout, random: np.random.Generator
    ) -> Machine | None:
        axis = machine.axes[kind]
        # Where an axis uses links and network, no profile tells which of both is slow.
        if axis.size == 1 or math.isfinite(axis.network):
            return None
        slow = replace(axis, link=axis.link / random.uniform(3, 14))
        return replace(machine, axes={**machine.axes, kind: slow})

    return Cause(f"slow link, {kind}", (kind,), frozenset({kind}), apply)


def _slow_network(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    factor = random.uniform(3, 12)
    crossing = [one for one in machine.axes.values() if math.isfinite(one.network) and one.size > 1]
    if not crossing:
        return None
    axes = {k: replace(one, network=one.network / factor) for k, one in machine.axes.items()}
    return replace(machine, axes=axes)


def _launches(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    if job.place.chip.kind == "tpu":
        return None
    return replace(machine, kernel_s=float(random.uniform(4e-6, 12e-6)))


def _stall(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    healthy = simulate(job, layout, machine).step_s
    return replace(machine, stall_s=healthy * float(random.uniform(0.12, 1.2)))


def _relayout(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    rows = layout.micro_batch * job.workload.seq_len / layout.context
    size = rows * job.model.hidden * 2.0 * float(random.uniform(1, 12))
    return replace(machine, relayout_bytes=size / layout.tensor)


def _no_overlap(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    return replace(machine, is_prefetching=False)


def _factor(name: str, low: float, high: float) -> Callable[..., Machine | None]:
    def apply(
        machine: Machine, job: Job, layout: Layout, random: np.random.Generator
    ) -> Machine | None:
        return replace(machine, **{name: float(random.uniform(low, high))})  # type: ignore[arg-type]

    return apply


def _slow_memory(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    return replace(machine, hbm=machine.hbm / float(random.uniform(2, 8)))


def _as_drawn(
    machine: Machine, job: Job, layout: Layout, random: np.random.Generator
) -> Machine | None:
    return machine


CAUSES: tuple[Cause, ...] = (
    *(_slow_link(kind) for kind in ("data", "fsdp", "tensor", "context", "expert")),
    Cause("slow network", ("network",), frozenset({"network"}), _slow_network),
    Cause("straggler", ("straggler",), frozenset(), _factor("straggler", 1.15, 2.0)),
    Cause("expert imbalance", ("imbalance",), frozenset({"expert"}), _factor("imbalance", 1.3, 4)),
    Cause("input stall", ("input",), frozenset(), _stall),
    Cause("needless recomputation", ("recompute",), frozenset(), _as_drawn, is_fault=False),
    Cause("short memory", ("capacity",), frozenset(), _as_drawn, is_fault=False),
    Cause("launches", ("launch",), frozenset({"gpu"}), _launches),
    Cause("launches, serving", ("launch",), frozenset({"gpu"}), _launches, is_serving=True),
    Cause("long bubble", ("bubble",), frozenset({"pipeline"}), _as_drawn, is_fault=False),
    Cause("slow memory", ("hbm",), frozenset(), _slow_memory),
    Cause("decode", ("hbm",), frozenset(), _as_drawn, is_serving=True, is_fault=False),
    Cause("slow link, serving", ("tensor",), frozenset({"tensor"}), _slow_link("tensor").apply,
          is_serving=True),
    Cause("relayout", ("relayout",), frozenset(), _relayout, is_fault=False),
    Cause("no overlap", ("overlap",), frozenset({"fsdp"}), _no_overlap),
    Cause("wide layout", ("tensor", "fsdp", "data", "network", "expert", "pipeline"), frozenset(),
          _as_drawn, is_fault=False),
    Cause("nothing", ("compute",), frozenset(), _as_drawn, is_fault=False),
)  # fmt: skip


def inject(seed: int, count: int = 200) -> list[Injected]:
    """Draw labelled profiles.

    Each is of a random job with one or two causes, one of which must cost the most by
    the generator's own accounting; draws in which something else does are dropped, and after 150
    of them another cause is taken.

    Args:
        seed: Same seed, same profiles.
        count: How many.
    """
    random = np.random.default_rng(seed)
    found = []
    for place in range(count):
        source: Source = str(random.choice(list(_SHARES), p=list(_SHARES.values())))  # type: ignore[assignment]
        causes = [
            one
            for one in CAUSES
            if VISIBLE[source] & set(one.kinds) and (source == "xprof" or not one.is_fault)
        ]
        one = None
        while one is None:
            first = causes[int(random.integers(len(causes)))]
            both = random.random() < 0.35 and first.name != "nothing"
            one = _one(f"{seed}-{place:03d}", first, causes if both else [], source, random)
        found.append(one)
    return found


def _one(
    name: str, first: Cause, others: list[Cause], source: Source, random: np.random.Generator
) -> Injected | None:
    for _ in range(_MOST_DRAWS):
        second = others[int(random.integers(len(others)))] if others else None
        if second is not None and (
            second.is_serving != first.is_serving or second.name == "nothing"
        ):
            second = None
        drawn = draw_job(
            random, not first.is_serving, first.wants | (second.wants if second else set())
        )
        if drawn is None:
            continue
        job, layout = drawn
        machine: Machine | None = draw_machine(job, layout, random)
        for cause in (first, second):
            if cause is not None and machine is not None:
                machine = cause.apply(machine, job, layout, random)
        if machine is None:
            continue
        saved = accounting(job, layout, machine)
        named = name_kinds(saved)
        labels = frozenset(named)
        wanted = set(first.kinds) | set(second.kinds if second else ())
        if named[0] not in wanted or not labels <= VISIBLE[source] | {"compute"}:
            continue
        if first.name == "nothing" and saved["compute"] < _PACE:
            continue
        ran = simulate(job, layout, machine)
        profile = observe(ran, job, layout, machine, source, random)
        names = tuple(one.name for one in (first, second) if one and one.name != "nothing")
        return Injected(name, job, layout, profile, names, labels, saved)
    return None


def accounting(job: Job, layout: Layout, machine: Machine) -> dict[Kind, float]:
    """Return the share of the step that taking each kind away saves, by simulating it again."""
    ran = simulate(job, layout, machine)
    saved: dict[Kind, float] = {}
    for kind in KINDS:
        if kind in ("recompute", "capacity", "overlap", "host"):
            continue
        without = replace(machine, without=frozenset({kind}))
        saved[kind] = 1 - simulate(job, layout, without).step_s / ran.step_s
    saved["host"] = 0.0
    saved["overlap"] = _overlap(ran)
    saved["recompute"], saved["capacity"] = _recomputed(job, layout, machine, ran)
    return {kind: float(share) for kind, share in saved.items()}


def _overlap(ran: Ran) -> float:
    """Return what is in sight of transfers that could hide, but for what products cannot cover."""
    kinds = ("data", "fsdp", "context")
    total = sum(ran.spent[f"{kind}.total"] for kind in kinds)
    seen = sum(ran.spent[f"{kind}.exposed"] for kind in kinds)
    products = ran.spent["compute"] + ran.spent["repeated"]
    longer = ran.step_s / max(ran.step_s - ran.spent["bubble"], 1e-9)
    return max(seen - max(total - products, 0.0), 0.0) * longer / ran.step_s


def _recomputed(job: Job, layout: Layout, machine: Machine, ran: Ran) -> tuple[float, float]:
    """Return what less recomputation saves: where that fits, and what needs more memory."""
    if not job.workload.is_training or layout.remat == "none":
        return 0.0, 0.0
    fits = fitting(job, layout, machine.memory_share)

    def share(remat: str) -> float:
        other = simulate(job, replace(layout, remat=remat), machine)  # type: ignore[arg-type]
        return 1 - other.step_s / ran.step_s

    most = share("none")
    now = most if fits["none"] else share("selective") if fits["selective"] else 0.0
    return max(now, 0.0), max(most - max(now, 0.0), 0.0)

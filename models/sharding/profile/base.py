"""What is known of one step of a job: one `Profile`, wherever it was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from models.sharding.layout import Layout

Source = Literal["cpu_hlo", "tpu_aot", "xprof", "maxtext_log", "analytic"]
Trust = Literal["measured", "compiled", "modelled"]
"""Measured on the chip; exact for a compiled program; predicted by the cost model."""
CollectiveKind = Literal[
    "all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"
]


@dataclass(frozen=True)
class Collective:
    """What one collective of the program, trip counts applied, costs a chip per step."""

    kind: CollectiveKind
    axes: tuple[str, ...]
    """Mesh axes (of `layout.AXES`) that it runs over; empty: they could not be told."""
    group_size: int
    """Chips that take part in one group."""
    wire_bytes: float
    """Bytes of the larger of operand and result of one chip, times `count`."""
    count: float
    """Times per step."""
    seconds: float | None = None
    """Time that it takes per step."""
    exposed_s: float | None = None
    """Part of `seconds` during which nothing is computed."""
    name: str = ""
    """Its instruction."""


@dataclass(frozen=True)
class Op:
    """One of the operations that take the most time."""

    name: str
    category: str
    """Such as "matmul", "attention", "collective", "copy", "elementwise"."""
    seconds: float | None
    flops: float | None = None
    hbm_bytes: float | None = None
    limit: Literal["compute", "memory", "network"] | None = None


@dataclass(frozen=True)
class Pattern:
    """Something in the program that could be done with less."""

    kind: Literal["gather_then_slice", "reduce_not_scatter", "relayout", "repeated_gather"]
    instructions: tuple[str, ...]
    wasted_bytes: float
    """Bytes per chip and step that the better form would not move."""
    advice: str


@dataclass(frozen=True)
class Profile:
    """One step on one chip. `None` is what the source does not tell."""

    source: Source
    step_s: float | None = None
    compute_s: float | None = None
    """Matrix products and what else keeps the arithmetic units busy."""
    hbm_s: float | None = None
    """Operations that wait for memory."""
    collectives: tuple[Collective, ...] = ()
    exposed_comm_s: float | None = None
    bubble_s: float | None = None
    """Waiting for other stages."""
    idle_s: float | None = None
    """Nothing runs: launches, the host, input."""
    peak_hbm_bytes: float | None = None
    argument_bytes: float | None = None
    """Weights, optimizer and inputs that one chip holds."""
    flops: float | None = None
    """Per chip and step, trip counts applied."""
    hbm_traffic_bytes: float | None = None
    spread_s: float | None = None
    """Half the distance of the 10 % and 90 % quantiles of steps."""
    duty_cycle: float | None = None
    """Share of the step in which the chip is busy, in [0, 1]."""
    top_ops: tuple[Op, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    trip_counts: tuple[int, ...] = ()
    layout: Layout | None = None
    chips: int | None = None
    trust: Mapping[str, Trust] = field(default_factory=dict)
    """How far each field that is not None can be believed."""
    warnings: tuple[str, ...] = ()
    """What is missing or contradicts itself, in sentences."""
    digest: str = ""
    """SHA-256 of what was read."""


@dataclass(frozen=True)
class CompiledMemory:
    """Bytes that `compiled.memory_analysis()` tells, per device."""

    argument_bytes: float
    output_bytes: float
    temp_bytes: float
    alias_bytes: float = 0.0
    """Outputs that lie where arguments lay."""
    told_peak_bytes: float | None = None
    """The compiler's own peak, where it tells one."""

    @property
    def peak_bytes(self) -> float:
        """Peak of the compiler, else all that is held at once at the most."""
        if self.told_peak_bytes:
            return self.told_peak_bytes
        return self.argument_bytes + self.output_bytes - self.alias_bytes + self.temp_bytes


def trusted(profile: Profile, trust: Trust, **others: Trust) -> Profile:
    """Mark every number that a profile has.

    Args:
        profile: As it was read.
        trust: Of all fields that hold something.
        others: Of single fields, by name, where it differs.
    """
    marks: dict[str, Trust] = {}
    for name in (f.name for f in fields(profile) if f.name not in _UNMARKED):
        if getattr(profile, name) not in (None, ()):
            marks[name] = others.get(name, trust)
    return replace(profile, trust=marks)


def spread_s(steps_s: Sequence[float]) -> float | None:
    """Return half the distance of the 10 % and 90 % quantiles; None of fewer than two steps."""
    if len(steps_s) < 2:
        return None
    ordered = sorted(steps_s)

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    return (quantile(0.9) - quantile(0.1)) / 2


_UNMARKED = {"source", "layout", "chips", "trust", "warnings", "digest"}


@dataclass(frozen=True)
class Evidence:
    """One number that a claim can cite."""

    id: str
    """Unique within its document, such as "step", "comm.tensor" or "memory.peak"."""
    value: float
    unit: str
    source: str
    """Where it comes from: a profile's field, a term of the cost model, a published row."""
    trust: Trust

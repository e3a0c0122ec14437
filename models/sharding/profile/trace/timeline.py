"""Ops of one device in time: what computes, what talks to other chips, what of that is hidden."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.sharding.profile.base import CollectiveKind
from models.sharding.profile.trace.events import Event, Line, Plane

Span = tuple[float, float]
_COLLECTIVES: tuple[tuple[str, CollectiveKind], ...] = (
    ("reduce-scatter", "reduce-scatter"), ("reducescatter", "reduce-scatter"),
    ("all-gather", "all-gather"), ("allgather", "all-gather"),
    ("all-reduce", "all-reduce"), ("allreduce", "all-reduce"),
    ("all-to-all", "all-to-all"), ("alltoall", "all-to-all"),
    ("collective-permute", "collective-permute"), ("sendrecv", "collective-permute"),
    ("collective-broadcast", "all-gather"),
)  # fmt: skip
_CONTAINERS = ("while", "conditional", "call")
_HALF = re.compile(r"-(start|done)(?=\.|$)")
_NUMBER = re.compile(r"\.\d+$")


class Ran(NamedTuple):
    """One run of an op."""

    name: str
    start_s: float
    end_s: float
    kind: CollectiveKind | None
    """None: it computes."""
    event: Event


@dataclass(frozen=True)
class DeviceTime:
    """Ops of one device within its steps, in the order of time."""

    device: str
    steps: tuple[Span, ...]
    ops: tuple[Ran, ...]


def device_times(planes: Sequence[Plane]) -> list[DeviceTime]:
    """Return the ops of every device that ran any.

    Accelerators have planes of their own (TPU: lines "Steps" and "XLA Ops"; GPU: a line per
    stream). The CPU's devices run on threads of the host; their events name op and device.
    Steps are those that the program marked (`StepTraceAnnotation`), else runs of its module.
    """
    marked = _marked_steps(planes)
    found = []
    for plane in planes:
        if plane.is_device:
            ops = _ran(_op_events(plane.lines))
            steps = _line_spans(plane.lines, "Steps") or _main_module(plane.lines) or marked
            if ops:
                ops = sorted([*ops, *_hidden(plane.lines)], key=lambda one: one.start_s)
                found.append(DeviceTime(plane.name, tuple(steps), tuple(ops)))
    if found:
        return found
    by_device: dict[int, list[Event]] = {}
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                if "hlo_op" in event.stats:
                    device = event.stats.get("device_ordinal", 0)
                    number = int(device) if str(device).isdigit() else 0
                    by_device.setdefault(number, []).append(event)
    return [
        DeviceTime(f"cpu:{number}", tuple(marked or _runs(events)), tuple(_ran(events)))
        for number, events in sorted(by_device.items())
    ]


def _marked_steps(planes: Iterable[Plane]) -> list[Span]:
    spans = {
        (event.start_s, event.end_s)
        for plane in planes
        for line in plane.lines
        for event in line.events
        if "step_num" in event.stats and event.seconds > 0
    }
    return _disjoint(sorted(spans))


def _line_spans(lines: Sequence[Line], name: str) -> list[Span]:
    spans = [(e.start_s, e.end_s) for x in lines if x.name == name for e in x.events]
    return _disjoint(sorted(span for span in spans if span[1] > span[0]))


def _main_module(lines: Sequence[Line]) -> list[Span]:
    """Return the runs of the module that takes the most time."""
    runs: dict[str, list[Span]] = {}
    for event in (e for line in lines if line.name == "XLA Modules" for e in line.events):
        if event.seconds > 0:
            runs.setdefault(event.name, []).append((event.start_s, event.end_s))
    longest = max(runs.values(), key=lambda spans: sum(b - a for a, b in spans), default=[])
    return _disjoint(sorted(longest))


def _runs(events: Iterable[Event]) -> list[Span]:
    """Return first start and last end of each run of a program."""
    runs: dict[str, Span] = {}
    for event in events:
        key = str(event.stats.get("run_id", ""))
        low, high = runs.get(key, (event.start_s, event.end_s))
        runs[key] = (min(low, event.start_s), max(high, event.end_s))
    return _disjoint(sorted(runs.values()))


def _disjoint(spans: Sequence[Span]) -> list[Span]:
    """Drop spans that begin inside the one before: nested marks."""
    kept: list[Span] = []
    for span in spans:
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _op_events(lines: Sequence[Line]) -> list[Event]:
    named = [line for line in lines if line.name == "XLA Ops"]
    chosen = named or [line for line in lines if line.name.startswith("Stream")]
    return [event for line in chosen for event in line.events]


def _hidden(lines: Sequence[Line]) -> list[Ran]:
    """Return collectives of a line of asynchronous ops; copies there are prefetches."""
    events = [event for line in lines if line.name == "Async XLA Ops" for event in line.events]
    return [one._replace(name=_HALF.sub("", one.name)) for one in _ran(events) if one.kind]


def _ran(events: Iterable[Event]) -> list[Ran]:
    found = []
    for event in events:
        # A stream's kernel has a name of its own: that of a collective says so.
        name = str(event.stats.get("hlo_op", event.name))
        words = f"{event.stats.get('hlo_category', '')} {name} {event.name}".lower()
        if event.seconds > 0 and not name.startswith(_CONTAINERS):
            kind = next((kind for word, kind in _COLLECTIVES if word in words), None)
            if kind is None and name.startswith("async-collective"):
                # What TPUs hide this way are gathers, unless the instruction says otherwise.
                long = str(event.stats.get("long_name", "")).lower()
                kind = next((kind for word, kind in _COLLECTIVES if word in long), "all-gather")
            found.append(Ran(name, event.start_s, event.end_s, kind, event))
    return sorted(found, key=lambda one: one.start_s)


def within(ops: Iterable[Ran], steps: Sequence[Span]) -> list[Ran]:
    """Return the ops that begin in one of the steps; both come in order of time."""
    found, place = [], 0
    for one in ops:
        while place < len(steps) and steps[place][1] <= one.start_s:
            place += 1
        if place < len(steps) and one.start_s >= steps[place][0]:
            found.append(one)
    return found


def join_halves(ops: Sequence[Ran]) -> list[Ran]:
    """Return collectives from start to done as one run each; others as they are.

    Halves of what the trace shows whole, on a line of its own, are left out.
    """
    whole = {one.name for one in ops if not _HALF.search(one.name)}
    open_since: dict[str, list[Ran]] = {}
    found = []
    for one in ops:
        half = _HALF.search(one.name)
        key = _HALF.sub("", one.name)
        if half and key in whole:
            continue
        if half and half.group(1) == "start":
            open_since.setdefault(_NUMBER.sub("", key), []).append(one)
        elif half:
            waiting = open_since.get(_NUMBER.sub("", key), [])
            # Numbers of a pair mostly agree; else the first that was started ends first.
            same = [n for n, start in enumerate(waiting) if _HALF.sub("", start.name) == key]
            start = waiting.pop(same[0] if same else 0) if waiting else one
            found.append(one._replace(name=key, start_s=start.start_s, kind=one.kind or start.kind))
        else:
            found.append(one)
    found += [one for waiting in open_since.values() for one in waiting]
    return sorted(found, key=lambda one: one.start_s)


def union(spans: Iterable[Span]) -> list[Span]:
    """Join spans that touch."""
    joined: list[Span] = []
    for low, high in sorted(spans):
        if joined and low <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], high))
        else:
            joined.append((low, high))
    return joined


def length(spans: Iterable[Span]) -> float:
    """Return the seconds of spans that do not overlap."""
    return sum(high - low for low, high in spans)


def outside(spans: Sequence[Span], cover: Sequence[Span]) -> list[Span]:
    """Return what of some spans no other covers; both joined and in order."""
    left: list[Span] = []
    place = 0
    for low, high in spans:
        while place < len(cover) and cover[place][1] <= low:
            place += 1
        at = place
        while at < len(cover) and cover[at][0] < high:
            if cover[at][0] > low:
                left.append((low, cover[at][0]))
            low = max(low, cover[at][1])
            at += 1
        if low < high:
            left.append((low, high))
    return left

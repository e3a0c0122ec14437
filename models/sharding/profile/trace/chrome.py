"""Traces in Chrome's JSON (`*.trace.json`), which hold the same planes, lines and events."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any

from models.errors import DatasetUnreadableError
from models.sharding.profile.trace.events import WANTED, Event, Line, Plane, Stat


def read_chrome(data: bytes, name: str = "trace") -> list[Plane]:
    """Read the planes of a trace: processes are planes, threads are lines.

    Args:
        data: Content of the file, unpacked.
        name: What errors call it.

    Raises:
        DatasetUnreadableError: It is cut off, or not of this form.
    """
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DatasetUnreadableError(
            f"{name} is no JSON ({error}); it is cut off or garbled: copy it again, or give the "
            "*.xplane.pb beside it"
        ) from None
    events = whole.get("traceEvents") if isinstance(whole, dict) else whole
    if not isinstance(events, list):
        raise DatasetUnreadableError(
            f"{name} has no list 'traceEvents', expected a trace of Chrome's format"
        )
    processes: dict[Any, str] = {}
    threads: dict[tuple[Any, Any], str] = {}
    found: dict[Any, dict[Any, list[Event]]] = defaultdict(lambda: defaultdict(list))
    for one in events:
        if not isinstance(one, dict):
            continue
        process, thread = str(one.get("pid")), str(one.get("tid"))
        told = one.get("args")
        arguments: dict[str, Any] = told if isinstance(told, dict) else {}
        if one.get("ph") == "M":
            label = str(arguments.get("name", ""))
            if one.get("name") == "process_name":
                processes[process] = label
            elif one.get("name") == "thread_name":
                threads[process, thread] = label
        elif one.get("ph") == "X":
            start, length = _number(one.get("ts")), _number(one.get("dur"))
            if start is not None and length is not None:
                event = Event(str(one.get("name")), start * 1e-6, length * 1e-6, _stats(arguments))
                found[process][thread].append(event)
    if not found:
        raise DatasetUnreadableError(
            f"{name} holds no event, expected a trace of jax.profiler.trace; was the program run "
            "while it was taken?"
        )
    return [
        Plane(
            processes.get(process, process),
            [Line(threads.get((process, tid), tid), events) for tid, events in lines.items()],
        )
        for process, lines in found.items()
    ]


def _number(value: object) -> float | None:
    is_number = isinstance(value, int | float) and abs(value) < 1e18
    return float(value) if is_number and math.isfinite(value) else None  # type: ignore[arg-type]


def _stats(arguments: dict[str, Any]) -> dict[str, Stat]:
    return {
        key: value
        for key, value in arguments.items()
        if key in WANTED and isinstance(value, str | int | float)
    }

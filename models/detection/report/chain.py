"""The chain of evidence as a drawing: who asked for what, and what was done."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from models.detection.report.style import KINDS, OUTCOMES, short
from models.detection.session import Event, Session
from models.detection.verdicts import Evidence

_WIDTH, _HEIGHT, _GAP = 1_040, 62, 34
_TEXT = 118
"""Characters of an event that fit into its box."""


class Step(NamedTuple):
    """One box: an event, and the words on the arrow that leads to it."""

    event: Event
    arrow: str


def steps_of(session: Session, evidence: Evidence) -> list[Step]:
    """Return the events of a reason in order, with the prompt and the calls that led to them."""
    numbers = {event.id: number for number, event in enumerate(session.events)}
    named = sorted({numbers[name] for name in evidence.events if name in numbers})
    if not named:
        return []
    found: dict[int, str] = {}
    prompts = [n for n, e in enumerate(session.events[: named[0] + 1]) if e.kind == "user_message"]
    if prompts:
        found[prompts[-1]] = ""
    for number in named:
        event = session.events[number]
        call = numbers.get(event.responds_to or "")
        if event.kind == "tool_result" and call is not None:
            found.setdefault(call, "for this it called")
            found[number] = "and was answered"
        elif event.call is not None:
            found[number] = "after that it called"
        else:
            found.setdefault(number, "after that it said")
    return [Step(session.events[number], found[number]) for number in sorted(found)]


def drawing(session: Session, evidence: Evidence) -> str:
    """Return the chain as SVG; empty: its events are not in the session."""
    steps = steps_of(session, evidence)
    if not steps:
        return ""
    parts: list[str] = []
    at = 4
    for number, step in enumerate(steps):
        if number:
            parts.append(_arrow(at, step.arrow))
            at += _GAP
        is_last = number == len(steps) - 1
        parts.append(_box(at, step.event, is_last=is_last and step.event.id in evidence.events))
        at += _HEIGHT
    return (
        f"<svg viewBox='0 0 {_WIDTH} {at + 4}' width='100%' role='img' "
        f"aria-label='chain of evidence'>{''.join(parts)}</svg>"
    )


def _box(at: int, event: Event, *, is_last: bool) -> str:
    name, colour = KINDS[event.kind]
    if is_last:
        colour = OUTCOMES["executed"]
    first, second = _lines(event)
    return (
        f"<rect x='2' y='{at}' width='{_WIDTH - 4}' height='{_HEIGHT}' rx='6' fill='#fff' "
        f"stroke='{colour}' stroke-width='2'/>"
        f"<rect x='2' y='{at}' width='10' height='{_HEIGHT}' rx='4' fill='{colour}'/>"
        f"<text x='24' y='{at + 24}' font-weight='600'>{escape(name)}: {escape(first)}</text>"
        f"<text x='24' y='{at + 47}'>{escape(second)}</text>"
    )


def _lines(event: Event) -> tuple[str, str]:
    if event.call is not None:
        tool = f"{event.call.server}.{event.call.tool}" if event.call.server else event.call.tool
        arguments = event.call.arguments or {}
        told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"{tool} (event {event.id})", short(told or event.call.raw, _TEXT)
    return f"event {event.id}", short(event.text, _TEXT)


def _arrow(at: int, words: str) -> str:
    end = at + _GAP
    return (
        f"<line x1='40' y1='{at}' x2='40' y2='{end - 6}' stroke='#7b8794' stroke-width='2'/>"
        f"<path d='M34 {end - 8} L46 {end - 8} L40 {end} Z' fill='#7b8794'/>"
        f"<text x='58' y='{at + 22}'>{escape(words)}</text>"
    )


def strongest(evidence: Sequence[Evidence], session: Session) -> Evidence | None:
    """Return the reason to draw: the first that names events of the session."""
    return next((one for one in evidence if steps_of(session, one)), None)

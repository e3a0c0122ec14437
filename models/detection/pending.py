"""Rates a call that waits to run by who asked for it: the user, or something that was read.

Shared by the guard of our own agents, which sees a conversation grow, and by the hook of others,
which is told a transcript at each call and keeps of its results only how they lead away.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from models.detection.leads import Leads
from models.detection.reasoning.detector import Detector, shipped
from models.detection.reasoning.explained import is_half, reasons
from models.detection.reasoning.links import best_link
from models.detection.reasoning.told import Told
from models.detection.session import Event, Session, ToolCall
from models.detection.triage.blocks import Read, SpanModels, read_result

_MOST_READS = 60
"""Results that a call is held against: the latest, and those that ask for something. Time must not
grow with the conversation."""
_LONGEST_RESULT = 400_000
_SHOWN = 160


class Rated(NamedTuple):
    """A call that does what a result asked for.

    Attributes:
        level: high: what only a result asked for; medium: a step towards that.
        why: The reason, with the order as it stands there.
        chance: That it obeys the order, in [0, 1].
        event: Id of the result.
    """

    level: Literal["medium", "high"]
    why: str
    chance: float
    event: str


class Answer(NamedTuple):
    """A result as it was read, and the call that it answers; None: it is not known."""

    read: Read
    call: ToolCall | None


def read_answer(text: str, event: str, at: int, spans: SpanModels) -> Read:
    """Read a result; of a very long one its beginning and its end.

    Args:
        text: What it says.
        event: Its id.
        at: Its place in the conversation.
        spans: What finds instruction blocks.
    """
    if len(text) > _LONGEST_RESULT:
        text = f"{text[: _LONGEST_RESULT // 2]}\n\n{text[-_LONGEST_RESULT // 2 :]}"
    return read_result(text, event, at, spans)


def weighed(reads: Sequence[Read]) -> list[Read]:
    """Return the results that a call is held against, of all that were read, in order."""
    return [reads[number] for number in _weighed([_leads(read) for read in reads])]


def _weighed(leads: Sequence[float]) -> list[int]:
    """Return the numbers of the results that a call is held against, by how they lead away."""
    latest = max(0, len(leads) - _MOST_READS // 2)
    # Those that lead away most, so that nobody hides an order behind many harmless ones.
    leading = heapq.nlargest(_MOST_READS // 2, range(latest), lambda number: leads[number])
    return [*leading, *range(latest, len(leads))]


def rate_call(
    call: ToolCall,
    at: int,
    prompts: Sequence[str],
    answers: Sequence[Answer],
    used: Iterable[str],
    detector: Detector,
) -> Rated | None:
    """Rate a call; None: there is nothing to say of it.

    Args:
        call: It waits to run.
        at: Its place in the conversation.
        prompts: What the user said.
        answers: What the agent read and is `weighed`.
        used: Tools that were called before.
        detector: Whose trees and threshold count.
    """
    told = Told.by(prompts)
    for answer in answers:
        told.answered(answer.read, answer.call)
    told.used.update(used)
    if not told.blocks:
        return None
    link = best_link(at, call, told)
    chance = detector.calls.chance(link.features)
    if chance < detector.alert:
        return None
    asked = link.block.text
    quoted = asked if len(asked) <= _SHOWN else f"{asked[:_SHOWN]}…"
    why = f"does what a result asked for and the user did not ({reasons(link)}): {quoted!r}"
    return Rated("medium" if is_half(link) else "high", why, chance, link.block.event)


def rate_pending(
    session: Session,
    call: ToolCall,
    detector: Detector | None = None,
    kept: Leads | None = None,
) -> Rated | None:
    """Rate a call by the session that it goes on; None: there is nothing to say of it.

    What was rewound counts for nothing: the agent no longer knows it. Of a session that holds the
    call already, only what stands before it counts.

    Args:
        session: What happened so far.
        call: Its id is that of the session's call, if there is one; empty: it is not known.
        detector: None: the shipped one.
        kept: What earlier calls read, of this detector; only what it does not know, and what the
            call is held against, is read.
    """
    detector = detector or shipped()
    known = [event for event in _before(session, call) if not event.is_abandoned]
    calls = {event.id: event.call for event in known if event.call is not None}
    found = [
        (at, event)
        for at, event in enumerate(known)
        if event.kind == "tool_result" and event.text and event.status in ("ok", "error")
    ]
    reads: dict[int, Read] = {}

    def read(number: int) -> Read:
        at, event = found[number]
        if number not in reads:
            reads[number] = read_answer(event.text, event.id, at, detector.spans)
        return reads[number]

    leads = []
    for number, (_, event) in enumerate(found):
        before = kept.of(event.text) if kept else None
        leads.append(_leads(read(number)) if before is None else before)
        if kept and before is None:
            kept.keep(event.text, leads[-1])
    answers = [
        Answer(read(number), calls.get(found[number][1].responds_to or ""))
        for number in _weighed(leads)
    ]
    prompts = [event.text for event in known if event.kind == "user_message"]
    used = (one.tool for one in calls.values())
    return rate_call(call, len(known), prompts, answers, used, detector)


def _before(session: Session, call: ToolCall) -> Sequence[Event]:
    for at, event in enumerate(session.events):
        if event.call is None:
            continue
        is_waiting = not call.id and event.id not in session.results
        if event.call.id == call.id or (
            is_waiting and (event.call.tool, event.call.arguments) == (call.tool, call.arguments)
        ):
            return session.events[:at]
    return session.events


def _leads(read: Read) -> float:
    return max((block.steers for block in read.blocks), default=0.0)

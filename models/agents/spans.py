"""Spans of a conversation, read from its log: run, steps, model calls, tools, sub-agents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from models.agents.events import (
    Answer,
    Begun,
    Condensed,
    Event,
    Failure,
    Intent,
    Result,
    Spent,
    Status,
    UserMessage,
)

Kind: TypeAlias = Literal["AGENT", "CHAIN", "LLM", "TOOL"]

_LONGEST = 20_000
"""Characters of a text in a span; the log has all of it."""
_NS = 1_000_000_000


@dataclass
class Span:
    """A stretch of time in which one thing happened.

    Attributes:
        name: For people.
        kind: As OpenTelemetry's conventions for generative models have it.
        parent: Place of the span around it in the list; None: the whole.
        start_ns, end_ns: Since 1970.
        inputs, outputs: Plain JSON values.
        attributes: Plain JSON values.
        is_ok: False: it failed.
    """

    name: str
    kind: Kind
    parent: int | None
    start_ns: int
    end_ns: int
    inputs: Any = None
    outputs: Any = None
    attributes: dict[str, Any] = field(default_factory=dict)
    is_ok: bool = True


def spans_of(
    name: str,
    events: Sequence[Event],
    children: Callable[[str], Sequence[Event]] = lambda _: (),
) -> list[Span]:
    """Return the spans of a conversation's events, the one around all of them first.

    They are read from the committed log, so that nothing is measured where the agent works. A
    model's call begins where the events that it was sent end.

    Args:
        name: Of the span around all.
        events: In order, one branch or all.
        children: Returns the events of a conversation that was delegated to, by its id.
    """
    if not events:
        return []
    spans = [Span(name, "AGENT", None, _ns(events[0].ts), _ns(events[-1].ts))]
    calls: dict[str, int] = {}
    before = events[0]
    step: int | None = None
    for event in events:
        body = event.body
        match body:
            case UserMessage():
                spans[0].inputs = spans[0].inputs or _cut(body.message.text)
            case Answer():
                step = len(spans)
                spans.append(Span(f"step {event.seq}", "CHAIN", 0, _ns(before.ts), _ns(event.ts)))
                spans.append(_answered(body, step, before.ts, event.ts))
            case Intent():
                calls[body.call_id] = len(spans)
                spans.append(_called(body, step or 0, event.ts))
            case Begun() if body.call_id in calls:
                spans[calls[body.call_id]].start_ns = _ns(event.ts)
            case Result() if body.call_id in calls:
                _ended(spans, calls[body.call_id], body, event.ts)
            case Condensed():
                about = {"why": body.why, "kept from": body.tail_from}
                spans.append(
                    Span(
                        *("condense", "CHAIN", 0, _ns(before.ts), _ns(event.ts)),
                        outputs=_cut(body.summary),
                        attributes=about,
                    )
                )
            case Failure():
                spans.append(
                    Span(
                        *(body.where or "failure", "CHAIN", step or 0),
                        *(_ns(before.ts), _ns(event.ts)),
                        outputs=_cut(body.message),
                        attributes={"error": body.error},
                        is_ok=False,
                    )
                )
            case Spent() if body.purpose.startswith("delegate:"):
                _delegated(spans, body.purpose.removeprefix("delegate:"), calls, children)
            case Status():
                spans[0].outputs = _cut(body.final) or spans[0].outputs
                spans[0].attributes |= {"phase": body.phase, "reason": body.reason}
                spans[0].is_ok = body.phase not in ("error", "stuck")
        before = event
    return spans


def _answered(body: Answer, step: int, began: float, ended: float) -> Span:
    usage = body.usage
    start = ended - body.latency_s if body.latency_s is not None else began
    return Span(
        body.model or "model",
        "LLM",
        step,
        _ns(max(start, began)),
        _ns(ended),
        outputs={
            "text": _cut(body.message.text),
            "calls": [{"name": c.name, "arguments": c.arguments} for c in body.message.tool_calls],
        },
        attributes={
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "completion_tokens": usage.completion_tokens,
            "cost_usd": body.cost_usd,
            "finish_reason": body.finish_reason,
        },
    )


def _called(body: Intent, step: int, at: float) -> Span:
    about: dict[str, Any] = {"call_id": body.call_id}
    if body.risk:
        about |= {"risk": body.risk, "reasons": list(body.reasons)}
    if body.waits:
        about["waited for approval"] = True
    return Span(
        *(body.name, "TOOL", step, _ns(at), _ns(at)),
        inputs=_cut(body.arguments),
        attributes=about,
        is_ok=False,  # until there is a result
    )


def _ended(spans: list[Span], place: int, body: Result, at: float) -> None:
    span = spans[place]
    if body.duration_s is not None:
        span.start_ns = max(span.start_ns, _ns(at - body.duration_s))
    span.end_ns = _ns(at)
    span.outputs, span.is_ok = _cut(body.text), body.outcome == "ok"
    span.attributes["outcome"] = body.outcome
    if span.parent:
        step = spans[span.parent]
        step.end_ns = max(step.end_ns, span.end_ns)
        step.is_ok = step.is_ok and span.is_ok


def _delegated(
    spans: list[Span],
    child: str,
    calls: dict[str, int],
    children: Callable[[str], Sequence[Event]],
) -> None:
    """Put the spans of a conversation below the call that it was delegated by."""
    around = next(
        (place for place in reversed(calls.values()) if spans[place].name == "delegate"), 0
    )
    first = len(spans)
    for span in spans_of(child, children(child), children):
        span.parent = around if span.parent is None else first + span.parent
        spans.append(span)


def totals(events: Iterable[Event]) -> dict[str, float]:
    """Return counts of a log: calls of models and tools, failed ones, tokens."""
    found = dict.fromkeys(("llm_calls", "tool_calls", "tool_errors", "approvals", "condensed"), 0.0)
    for event in events:
        match event.body:
            case Answer():
                found["llm_calls"] += 1
            case Intent() as intent:
                found["tool_calls"] += 1
                found["approvals"] += intent.waits
            case Result() as result:
                found["tool_errors"] += result.outcome != "ok"
            case Condensed():
                found["condensed"] += 1
    return found


def _ns(seconds: float) -> int:
    return int(seconds * _NS)


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… ({len(text):,} characters)"

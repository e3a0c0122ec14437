"""Sessions as OpenTelemetry spans, in OTLP's JSON: what any collector takes.

Names are those of the GenAI conventions of schema `SCHEMA_URL`, which are still in development:
another version is another number here, and nothing else of the program knows them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from models.detection.session import Event, Session
from models.detection.verdicts import Verdict

SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
_SCOPE = {"name": "loomworks.detection", "version": "1"}
_NS = 1_000_000_000
_LONGEST = 8_000
"""Characters of a text in a span; the store has all of it."""


def spans(session: Session, verdict: Verdict | None = None) -> dict[str, Any]:
    """Return a session as one `ResourceSpans` of OTLP: the agent, its calls, what was said.

    Args:
        session: What happened.
        verdict: What was found; its outcome and rules go to the agent's span, and an event
            `loom.evidence` to each span that a reason names.
    """
    trace = _hex(f"{session.agent}/{session.id}", 32)
    root = _hex(f"{trace}/agent", 16)
    times = [event.time_s for event in session.events if event.time_s is not None]
    first, last = (min(times), max(times)) if times else (0.0, 0.0)
    reasons = _reasons(verdict)
    model = session.environment.get("model", "")
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": session.agent or "agent",
        "gen_ai.conversation.id": session.id, "gen_ai.request.model": model,
    }  # fmt: skip
    if verdict is not None:
        attributes |= {
            "loom.outcome": verdict.outcome, "loom.score": verdict.score,
            "loom.detector": verdict.detector, "loom.techniques": ",".join(verdict.techniques),
        }  # fmt: skip
    whole = _span(trace, root, "", f"invoke_agent {session.agent}".strip(), first, last, attributes)
    if verdict is not None and verdict.is_alert:
        whole["status"] = {"code": 2, "message": f"attack: {verdict.outcome}"}
    found = [whole]
    for event in session.events:
        if event.kind in ("tool_call", "user_message", "assistant_message", "reasoning"):
            span = _of_event(session, event, trace, root, first)
            span["events"] = [_evidence(one, span) for one in reasons.get(event.id, ())]
            found.append(span)
    resource = {"service.name": session.agent or "agent"}
    return {
        "resource": {"attributes": _attributes(resource)},
        "scopeSpans": [{"scope": _SCOPE, "schemaUrl": SCHEMA_URL, "spans": found}],
        "schemaUrl": SCHEMA_URL,
    }


def document(pairs: Iterable[tuple[Session, Verdict | None]]) -> dict[str, Any]:
    """Return sessions as one `TracesData` of OTLP."""
    return {"resourceSpans": [spans(session, verdict) for session, verdict in pairs]}


def _of_event(
    session: Session, event: Event, trace: str, root: str, first: float
) -> dict[str, Any]:
    began = event.time_s if event.time_s is not None else first
    name = _hex(f"{trace}/{event.id}", 16)
    parent = _hex(f"{trace}/{event.delegated_by}", 16) if event.delegated_by else root
    told: dict[str, Any] = {"gen_ai.conversation.id": session.id, "loom.event": event.id}
    if event.place:
        told["loom.place"] = event.place
    call = event.call
    if call is None:
        role = "user" if event.kind == "user_message" else "assistant"
        key = "gen_ai.input.messages" if role == "user" else "gen_ai.output.messages"
        kind = "reasoning" if event.kind == "reasoning" else "text"
        message = [{"role": role, "parts": [{"type": kind, "content": _short(event.text)}]}]
        told |= {"gen_ai.operation.name": "chat", key: json.dumps(message, ensure_ascii=False)}
        return _span(trace, name, parent, f"chat {role}", began, began, told)
    result = session.results.get(event.id)
    ended = result.time_s if result is not None and result.time_s is not None else began
    told |= {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": call.tool,
        "gen_ai.tool.call.id": call.id,
        "gen_ai.tool.call.arguments": _short(call.raw or json.dumps(call.arguments, default=str)),
    }
    if call.server:
        told |= {"mcp.method.name": "tools/call", "server.address": call.server}
    if result is not None:
        told["gen_ai.tool.call.result"] = _short(result.text)
    span = _span(trace, name, parent, f"execute_tool {call.tool}", began, ended, told)
    if result is not None and result.status in ("error", "denied"):
        span["status"] = {"code": 2, "message": result.status}
        span["attributes"] += _attributes({"error.type": result.status})
    return span


def _span(
    trace: str, name: str, parent: str, title: str, began: float, ended: float,
    attributes: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    return {
        "traceId": trace, "spanId": name, "parentSpanId": parent, "name": title, "kind": 1,
        "startTimeUnixNano": str(int(began * _NS)),
        "endTimeUnixNano": str(int(max(began, ended) * _NS)),
        "attributes": _attributes(attributes), "status": {},
    }  # fmt: skip


def _reasons(verdict: Verdict | None) -> dict[str, list[tuple[str, str, float]]]:
    found: dict[str, list[tuple[str, str, float]]] = {}
    for one in verdict.evidence if verdict else ():
        for name in one.events:
            found.setdefault(name, []).append((one.rule, one.sentence, one.weight))
    return found


def _evidence(reason: tuple[str, str, float], span: dict[str, Any]) -> dict[str, Any]:
    rule, sentence, weight = reason
    told = {"loom.rule": rule, "loom.sentence": _short(sentence), "loom.weight": weight}
    return {
        "name": "loom.evidence", "timeUnixNano": span["endTimeUnixNano"],
        "attributes": _attributes(told),
    }  # fmt: skip


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"doubleValue": value} if isinstance(value, float)
         else {"stringValue": str(value)}}
        for key, value in values.items()
        if value not in ("", None)
    ]  # fmt: skip


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _hex(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:digits]

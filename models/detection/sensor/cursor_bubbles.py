"""One bubble of a chat in Cursor: what was said or thought, or a call with its result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.values import (
    Content,
    arguments,
    content,
    mapping,
    name,
    need_mapping,
    seconds,
    sequence,
    text,
)
from models.detection.session import Status

_USER, _ASSISTANT = (1, "1", "user"), (2, "2", "ai", "assistant")
_DENIED = ("rejected", "reject", "denied")
_ENDED = ("completed", "success", "done", "")


def read_bubble(draft: Draft, time_s: float | None, record: Record) -> None:
    """Take a bubble.

    Args:
        draft: Takes it.
        time_s: When the list of the chat says that it was made; None: it does not say.
        record: The bubble.

    Raises:
        BadRecordError: Its call is no object.
    """
    bubble = record.value
    when = seconds(bubble.get("createdAt")) or time_s
    event: dict[str, Any] = {"time_s": when, "place": record.place}
    who = bubble.get("type")
    told = Content(name(bubble.get("text")) or name(bubble.get("rawText")) or _rich(bubble))
    images = content([{"type": "image", "source": one} for one in sequence(bubble.get("images"))])
    told = told._replace(images=images.images)
    id = name(bubble.get("bubbleId")) or name(bubble.get("id"))
    if who in _USER:
        draft.say("user_message", told, id=id, **event)
        return
    if who not in _ASSISTANT:
        draft.not_known(f"bubble of type {text(who)}", record, **event)
        return
    for thought in _thoughts(bubble):
        draft.add("reasoning", thought, **event)
    made = draft.say("assistant_message", told, id=id, **event)
    asked = bubble.get("toolFormerData")
    if asked is not None and asked != {}:
        call_event = {**event, "id": id if made is None else f"{id}#call"}
        _call(draft, need_mapping(asked, "its call"), call_event, event)


def _thoughts(bubble: dict[str, Any]) -> Iterator[str]:
    for block in (bubble.get("thinking"), *sequence(bubble.get("allThinkingBlocks"))):
        thought = block if isinstance(block, str) else name(mapping(block).get("text"))
        if thought.strip():
            yield thought


def _rich(bubble: dict[str, Any]) -> str:
    """Return the texts of a message that only its editor's document holds."""
    try:
        document = decode(name(bubble.get("richText")).encode("utf-8", "replace")).value
    except BadRecordError:
        return ""
    found: list[str] = []
    open_nodes = [document]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, list):
            open_nodes += reversed(node)
        elif isinstance(node, dict):
            if isinstance(node.get("text"), str):
                found.append(node["text"])
            open_nodes += reversed([v for v in node.values() if isinstance(v, list | dict)])
    return "".join(found)


def _call(
    draft: Draft, asked: dict[str, Any], call_event: dict[str, Any], event: dict[str, Any]
) -> None:
    full = name(asked.get("name")) or f"tool {text(asked.get('tool'))}"
    by_params, _ = arguments(asked.get("params"))
    # Of a tool of an MCP server the parameters name both; the name alone cannot be split.
    inner = mapping(next(iter(sequence(mapping(by_params).get("tools"))), None))
    server, tool = name(inner.get("serverName")), name(inner.get("name")) or full
    if not server:
        tool = full
        if full.startswith("mcp_"):
            server, _, tool = full.removeprefix("mcp_").partition("_")
    given = asked.get("rawArgs")
    if arguments(given)[0] is None:
        given = inner.get("parameters", asked.get("params", given))
    call = name(asked.get("toolCallId"))
    made = draft.call(call, tool or full, given, server=server, **call_event)
    status = _status(asked)
    if status is None:
        return
    answer = asked.get("result", asked.get("error"))
    told = content(answer if asked.get("result") else (asked.get("error") or answer))
    draft.add("tool_result", told.text, status=status, responds_to=made, **event)
    draft.pictures(told, **event)


def _status(asked: dict[str, Any]) -> Status | None:
    """Return how a call ended; None: it has not."""
    inner = asked.get("additionalData")
    said = name(asked.get("status")) or name(mapping(inner).get("status"))
    if name(asked.get("userDecision")) in _DENIED or said in _DENIED:
        return "denied"
    if asked.get("error") or said in ("error", "failed", "cancelled"):
        return "error"
    return "ok" if said in _ENDED and asked.get("result") is not None else None

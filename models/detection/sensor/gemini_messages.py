"""One message of a chat of Gemini CLI: what was said and thought, calls with their results."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError
from models.detection.sensor.values import (
    content,
    mapping,
    name,
    need_mapping,
    seconds,
    sequence,
    split_tool,
    text,
)
from models.detection.session import Status

_NOTICES = ("info", "error", "warning")
_SHOWN = re.compile(r"(.{1,200}) \(([^()]{1,200}) MCP Server\)")
_STATUS: dict[str, Status] = {"success": "ok", "error": "error", "cancelled": "denied"}


def read_message(
    draft: Draft,
    event: dict[str, Any],
    replaced: Sequence[str],
    begin: Callable[[str, str], str | None],
    record: Record,
) -> None:
    """Take a message.

    Args:
        draft: Takes it.
        event: What all of its events have.
        replaced: Events that it sums up.
        begin: Makes the events of a sub-agent that a call began, and returns the last.
        record: The message.

    Raises:
        BadRecordError: Its calls are no objects.
    """
    value, kind = record.value, name(record.value.get("type"))
    event = {**event, "time_s": seconds(value.get("timestamp"))}
    id, told = name(value.get("id")), content(value.get("content"))
    if replaced:
        draft.add("summary", told.text, id=id, derived_from=replaced, **event)
    elif kind == "user":
        draft.say("user_message", told, id=id, **event)
    elif kind in _NOTICES:
        draft.say("notice", told, id=id, **event)
    elif kind == "gemini":
        draft.note("model", value.get("model"))
        for thought in sequence(value.get("thoughts")):
            _think(draft, thought, event)
        draft.say("assistant_message", told, id=id, **event)
        for asked in sequence(value.get("toolCalls")):
            _call(draft, need_mapping(asked, "a call"), event, begin)
    else:
        draft.not_known(kind, record, **event)


def _think(draft: Draft, thought: Any, event: dict[str, Any]) -> None:
    values = mapping(thought)
    told = [name(values.get("subject")), name(values.get("description"))]
    shown = ": ".join(part for part in told if part) or text(thought)
    when = seconds(values.get("timestamp")) or event["time_s"]
    draft.add("reasoning", shown, **{**event, "time_s": when})


def _call(
    draft: Draft,
    asked: dict[str, Any],
    event: dict[str, Any],
    begin: Callable[[str, str], str | None],
) -> None:
    if not isinstance(asked.get("name"), str):
        raise BadRecordError("a call names no tool")
    call, status = name(asked.get("id")), name(asked.get("status"))
    server, tool = _tool(asked["name"], name(asked.get("displayName")))
    event = {**event, "time_s": seconds(asked.get("timestamp")) or event["time_s"]}
    made = draft.call(call, tool, asked.get("args"), server=server, **event)
    end = begin(name(asked.get("agentId")), made) if asked.get("agentId") else None
    result = asked.get("result")
    if result is None and status not in _STATUS:
        return
    told = content(result if result is not None else asked.get("resultDisplay"))
    done = {**event, "derived_from": [end] if end else []}
    draft.add("tool_result", told.text, status=_STATUS.get(status, "ok"), responds_to=made, **done)
    draft.pictures(told, **event)


def _tool(full: str, shown: str) -> tuple[str, str]:
    """Return server and tool; what is shown to the user names both where the name does not."""
    if match := _SHOWN.fullmatch(shown):
        server, tool = match[2], match[1]
        return server, tool
    server, tool = split_tool(full)
    if not server and full.startswith("mcp_"):
        server, _, tool = full.removeprefix("mcp_").partition("_")
    elif not server and "__" in full:
        server, _, tool = full.partition("__")
    return (server, tool) if tool else ("", full)

"""What Cline's user saw: times and reasoning of messages, or the whole task where they are lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.values import (
    Content,
    arguments,
    content,
    name,
    seconds,
    sequence,
    text,
)

_SPOKEN = ("task", "user_feedback", "user_feedback_diff")
_SAID = ("text", "completion_result", "plan_mode_respond")
_CALLS = ("tool", "command", "use_mcp_server", "browser_action_launch", "browser_action")
_RESULTS = ("command_output", "mcp_server_response", "browser_action_result")
_BOOKKEEPING = frozenset(
    (
        "api_req_started", "api_req_finished", "api_req_retried", "checkpoint_created",
        "checkpoint_saved", "mcp_server_request_started", "shell_integration_warning",
        "task_progress", "resume_task", "resume_completed_task", "deleted_api_reqs",
        "load_mcp_documentation", "mcp_notification", "condense", "info",
    )
)  # fmt: skip


def times(shown: Sequence[Record]) -> dict[int, float]:
    """Return when messages of the history were said, by their places.

    What the user sees carries the place of the last message that was complete, so an answer is
    dated by the first that was seen of it.
    """
    found: dict[int, float] = {}
    for record in shown:
        place, when = record.value.get("conversationHistoryIndex"), seconds(record.value.get("ts"))
        if when is None:
            continue
        if isinstance(place, int) and not isinstance(place, bool) and place >= 0:
            found.setdefault(place + 1, when)
        else:
            found.setdefault(0, when)
    return found


def thoughts(shown: Sequence[Record]) -> dict[int, str]:
    """Return reasoning by the place of the message that it belongs to."""
    found: dict[int, str] = {}
    for record in shown:
        place = record.value.get("conversationHistoryIndex")
        is_whole = record.value.get("partial") is not True
        if record.value.get("say") == "reasoning" and isinstance(place, int) and is_whole:
            told = name(record.value.get("text")) or name(record.value.get("reasoning"))
            found[place + 1] = "\n".join(filter(None, (found.get(place + 1), told)))
    return found


def read_shown(draft: Draft, record: Record) -> None:
    """Take what the user saw, where the history itself cannot be read."""
    value = record.value
    kind = name(value.get("say")) or name(value.get("ask"))
    told = name(value.get("text"))
    event: dict[str, Any] = {"time_s": seconds(value.get("ts")), "place": record.place}
    images = content([{"type": "image", "url": one} for one in sequence(value.get("images"))])
    shown = Content(told, images.images)
    if value.get("partial") is True or kind in _BOOKKEEPING:
        return
    if kind in _SPOKEN or (kind == "text" and not draft.events):
        draft.say("user_message", shown, **event)
    elif kind in _SAID or kind == "followup":
        draft.say("assistant_message", shown, **event)
    elif kind == "reasoning":
        draft.say("reasoning", shown, **event)
    elif kind in _CALLS:
        _call(draft, kind, told, event)
    elif kind in _RESULTS:
        last = next((e.call.id for e in reversed(draft.events) if e.call), "")
        draft.result(last, shown, **event)
    elif kind in ("error", "api_req_failed", "mistake_limit_reached", "rooignore_error"):
        draft.say("notice", shown, **event)
    else:
        draft.not_known(kind, record)


def _call(draft: Draft, kind: str, told: str, event: dict[str, Any]) -> None:
    given, _ = arguments(told)
    server, tool, values = "", kind, given or {"text": told}
    if kind == "command":
        tool, values = "execute_command", {"command": told}
    elif kind == "use_mcp_server":
        server, tool = text(values.get("serverName")), text(values.get("toolName")) or kind
        inner, raw = arguments(values.get("arguments"))
        values = inner or {"arguments": raw}
    elif kind == "tool":
        tool = text(values.get("tool")) or kind
    draft.call(f"ui{len(draft.events) + 1}", tool, values, server=server, **event)

"""OpenHands SDK: a folder per conversation with `events/event-<number>-<id>.json`.

Source of kinds and fields: github.com/OpenHands/software-agent-sdk, `openhands.sdk.event`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.detection.sensor.base import Source, files_at, folders_at
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError
from models.detection.sensor.values import (
    Content,
    content,
    mapping,
    name,
    need_mapping,
    seconds,
    sequence,
    split_tool,
    text,
)
from models.detection.session import Session, Status, ToolManifest

_PLACES = (".openhands/conversations", ".openhands/sessions", ".openhands-state/sessions",
           ".openhands/agent-canvas/conversations", "workspace/conversations")  # fmt: skip
_BOOKKEEPING = frozenset(
    (
        "TokenEvent", "LLMCompletionLogEvent", "ConversationStateUpdateEvent",
        "StreamingDeltaEvent", "CondensationRequest",
    )
)  # fmt: skip
_NOTICES = frozenset(
    ("PauseEvent", "ConversationErrorEvent", "HookExecutionEvent", "InterruptEvent", "WarningEvent",
     "SecurityAnalyzerEvent")
)  # fmt: skip
_UNKNOWN_SERVER = "mcp"
"""A call's record says that a server has its tool, and not which."""


class OpenHands:
    """Conversations of the OpenHands SDK."""

    name = "openhands"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the folders of conversations."""
        for events in folders_at(home, [f"{place}/*/events" for place in _PLACES], unreadable):
            yield _source(events.parent, unreadable)

    def source(self, path: Path) -> Source | None:
        """Return the conversation of a folder, or of its folder `events`."""
        folder = path.parent if path.name == "events" else path
        found = _source(folder)
        return found if found.files else None

    def read(self, source: Source) -> list[Session]:
        """Read a conversation."""
        draft = Draft(self.name)
        reading = _Reading(draft)
        for file in source.files:
            value = draft.document(file)
            place = f"events/{file.name}"
            if isinstance(value, dict):
                draft.records += 1
                draft.take(Record(place, value), reading.event)
            elif value is not None:
                draft.records += 1
                draft.put_aside(place, "no object", text(value).encode("utf-8", "replace"))
        return [draft.session(source.path.name)]


def _source(folder: Path, unreadable: list[str] | None = None) -> Source:
    return Source(folder, tuple(files_at(folder / "events", ["event-*.json"], unreadable)))


class _Reading:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._of_event: dict[str, str] = {}
        self._made: dict[str, list[str]] = {}

    def event(self, record: Record) -> None:
        value, kind = record.value, name(record.value.get("kind"))
        event: dict[str, Any] = {
            "id": name(value.get("id")), "time_s": seconds(value.get("timestamp")),
            "place": record.place,
        }  # fmt: skip
        read = {
            "SystemPromptEvent": self._system, "MessageEvent": self._message,
            "ActionEvent": self._action, "ObservationEvent": self._observation,
            "UserRejectObservation": self._rejected, "AgentErrorEvent": self._error,
            "Condensation": self._condensed, "CondensationSummaryEvent": self._summary,
        }.get(kind)  # fmt: skip
        first = len(self._draft.events)
        if read is not None:
            read(value, event)
        elif kind in _NOTICES:
            self._draft.add("notice", text(value), **event)
        elif kind not in _BOOKKEEPING:
            self._draft.not_known(kind, record, **event)
        self._made[event["id"]] = [one.id for one in self._draft.events[first:]]

    def _system(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        told = content([b for b in (value.get("system_prompt"), value.get("dynamic_context")) if b])
        self._draft.say("system_message", told, **event)
        for tool in map(mapping, sequence(value.get("tools"))):
            inner = mapping(tool.get("mcp_tool"))
            of = inner or tool
            title = name(of.get("name")) or name(tool.get("name")) or name(tool.get("title"))
            server, title = split_tool(title or name(tool.get("kind")))
            schema = of.get("inputSchema", of.get("parameters"))
            self._draft.manifests.append(
                ToolManifest(
                    server or (_UNKNOWN_SERVER if inner else ""), title,
                    text(of.get("description")), schema if isinstance(schema, dict) else None,
                    event["time_s"],
                )
            )  # fmt: skip

    def _message(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        message = need_mapping(value.get("llm_message"), "its message")
        self._think(message, event)
        role, source = name(message.get("role")), name(value.get("source"))
        told = content(message.get("content"))
        if role == "assistant" or source == "agent":
            self._draft.say("assistant_message", told, **event)
        elif role == "system" or source == "environment":
            self._draft.say("notice", told, **event)
        else:
            self._draft.say("user_message", told, **event)
        self._draft.say("notice", content(value.get("extended_content") or ""), **_unnamed(event))

    def _think(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        """Add what was thought; a provider's blocks may repeat the plain text."""
        blocks = [mapping(b).get("thinking") for b in sequence(value.get("thinking_blocks"))]
        item = mapping(value.get("responses_reasoning_item"))
        parts = [content([*sequence(item.get("summary")), *sequence(item.get("content"))]).text]
        told = [text(value.get("reasoning_content")), *map(text, blocks), *parts]
        for thought in dict.fromkeys(one for one in told if one.strip()):
            self._draft.add("reasoning", thought, **_unnamed(event))

    def _action(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        self._think(value, event)
        said = content(value.get("thought") or "")
        self._draft.say("assistant_message", said, **_unnamed(event))
        asked, action = mapping(value.get("tool_call")), mapping(value.get("action"))
        server, tool = split_tool(name(value.get("tool_name")) or name(asked.get("name")))
        if not tool:
            raise BadRecordError("an action without a tool")
        given: Any = asked.get("arguments", mapping(asked.get("function")).get("arguments"))
        if action.get("kind") == "MCPToolAction":
            server = server or _UNKNOWN_SERVER
            given = action.get("data", given)
        elif given is None:
            given = {key: one for key, one in action.items() if key != "kind"}
        call = name(value.get("tool_call_id")) or name(asked.get("id"))
        made = self._draft.call(call, tool, given, server=server, **event)
        self._of_event[event["id"]] = made

    def _observation(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        seen = need_mapping(value.get("observation"), "its observation")
        told = _told(seen)
        more = content(value.get("extended_content") or "")
        code = seen.get("exit_code", mapping(seen.get("metadata")).get("exit_code"))
        failed = seen.get("is_error") is True or bool(seen.get("error"))
        failed = failed or (isinstance(code, int) and code > 0)
        self._result(value, told, "error" if failed else "ok", event)
        self._draft.say("notice", more, **_unnamed(event))

    def _rejected(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        self._result(value, content(value.get("rejection_reason")), "denied", event)

    def _error(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        self._result(value, content(value.get("error")), "error", event)

    def _result(
        self, value: dict[str, Any], told: Content, status: Status, event: dict[str, Any]
    ) -> None:
        made = self._of_event.get(name(value.get("action_id")))
        made = made or self._draft.call_events.get(name(value.get("tool_call_id")))
        if made is None:
            self._draft.mended["result of no call"] += 1
        self._draft.add("tool_result", told.text, status=status, responds_to=made, **event)
        self._draft.pictures(told, **event)

    def _condensed(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        named = [name(one) for one in sequence(value.get("forgotten_event_ids"))]
        forgotten = [id for one in dict.fromkeys(named) for id in self._made.get(one, [])]
        told = text(value.get("summary"))
        self._draft.add("summary", told, derived_from=forgotten, **event)

    def _summary(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        self._draft.add("summary", text(value.get("summary")), **event)


def _unnamed(event: dict[str, Any]) -> dict[str, Any]:
    return {**event, "id": ""}


def _told(seen: dict[str, Any]) -> Content:
    """Return the text of an observation, whichever of its fields has it."""
    told = [content(seen[key]) for key in ("content", "output", "text") if seen.get(key)]
    if isinstance(seen.get("error"), str) and seen["error"]:
        told.append(Content(seen["error"]))
    if not told:
        rest = {key: one for key, one in seen.items() if key not in ("kind", "is_error")}
        return Content(text(rest)) if rest else Content("")
    whole = "\n".join(dict.fromkeys(one.text for one in told if one.text))
    return Content(whole, told[0].images, told[0].unknown)

"""Codex CLI: `~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<uuid>.jsonl`.

A line is `{timestamp, type, payload}`; up to version 0.20 it is the payload alone. Events that
the program shows its user repeat what is in the items, so only what no item says is taken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.detection.sensor.base import Source, files_at, head_of, is_file
from models.detection.sensor.codex_notes import BOOKKEEPING, Notes
from models.detection.sensor.draft import Draft, Record
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
from models.detection.session import Session, Status

_ENVELOPES = frozenset(("session_meta", "turn_context", "response_item", "event_msg", "compacted"))
_BOILERPLATE = (
    "<environment_context>", "<user_instructions>", "# AGENTS.md instructions", "<turn_aborted>",
    "<permissions instructions>", "<subagent_notification>", "<skill>", "<user_shell_command>",
)  # fmt: skip
_META = ("cwd", "cli_version", "originator", "source", "model_provider", "git")
_TURN = ("cwd", "approval_policy", "sandbox_policy", "model", "effort", "permission_profile")
_OUTPUTS = ("function_call_output", "custom_tool_call_output", "local_shell_call_output",
            "mcp_tool_call_output", "tool_search_output")  # fmt: skip
_FAILED = re.compile(r"(?:Exit code|Process exited with code):? ([1-9]\d{0,4})\b")
_HEADER_CHARS = 300
"""Where a shell's result says its exit code; what the command wrote comes after it."""


class Codex:
    """Rollouts of Codex CLI."""

    name = "codex"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the rollouts, archived ones too."""
        patterns = ["sessions/**/rollout-*.jsonl", "archived_sessions/**/rollout-*.jsonl"]
        for path in files_at(home / ".codex", patterns, unreadable):
            yield Source(path, (path,))

    def source(self, path: Path) -> Source | None:
        """Return the rollout of a file."""
        if not is_file(path):
            return None
        records = head_of(path).records
        is_new = any(name(r.get("type")) in _ENVELOPES and "payload" in r for r in records)
        is_old = bool(records) and "timestamp" in records[0] and "instructions" in records[0]
        return Source(path, (path,)) if is_new or is_old else None

    def read(self, source: Source) -> list[Session]:
        """Read a rollout."""
        draft = Draft(self.name)
        reading = _Reading(draft)
        records = list(draft.lines(source.path))
        for record in records:
            reading.look_ahead(record)
        for record in records:
            draft.take(record, reading.record)
        return [draft.session(reading.id or source.path.stem)]


class _Reading:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._summed_up = 0
        self.id = ""
        self._said: Counter[tuple[str, str]] = Counter()
        self._calls: set[str] = set()
        self._notes = Notes(draft, self._said, self._calls)

    def look_ahead(self, record: Record) -> None:
        """Remember what items say: events may come before the item that they repeat."""
        item = mapping(record.value.get("payload", record.value))
        kind = name(item.get("type"))
        if record.value.get("type") == "event_msg":
            return
        if kind == "message":
            self._said[name(item.get("role")), content(item.get("content")).text.strip()] += 1
        elif kind == "reasoning":
            for part in (*sequence(item.get("summary")), *sequence(item.get("content"))):
                self._said["reasoning", content(part).text.strip()] += 1
        if call := name(item.get("call_id")) or (
            name(item.get("id")) if kind.endswith("_call") else ""
        ):
            self._calls.add(call)

    def record(self, record: Record) -> None:
        value, kind = record.value, name(record.value.get("type"))
        event: dict[str, Any] = {"time_s": seconds(value.get("timestamp")), "place": record.place}
        if "payload" in value and (kind in _ENVELOPES or isinstance(value["payload"], dict)):
            payload = need_mapping(value["payload"], "its payload")
            self._payload(kind, record, payload, event)
        elif not kind and "id" in value and "timestamp" in value:
            self._meta(value, event)
        elif value.get("record_type") != "state":
            self._item(record, value, event)

    def _payload(
        self, kind: str, record: Record, payload: dict[str, Any], event: dict[str, Any]
    ) -> None:
        match kind:
            case "session_meta":
                self._meta(payload, event)
            case "turn_context":
                self._turn(payload)
            case "compacted":
                self._compacted(payload, event)
            case "response_item":
                self._item(record, payload, event)
            case "event_msg":
                self._notes.read(record, payload, event)
            case _:
                self._draft.not_known(kind, record, **event)

    def _meta(self, meta: dict[str, Any], event: dict[str, Any]) -> None:
        self.id = self.id or name(meta.get("id"))
        for key in _META:
            self._draft.note(key, meta.get(key))
        told = meta.get("base_instructions") or meta.get("instructions")
        told = told.get("text") if isinstance(told, dict) else told
        if text(told):
            self._draft.add("system_message", text(told), **event)

    def _turn(self, turn: dict[str, Any]) -> None:
        for key in _TURN:
            self._draft.note(key, turn.get(key))

    def _compacted(self, item: dict[str, Any], event: dict[str, Any]) -> None:
        replaced = self._draft.alive()[self._summed_up :]
        self._draft.add("summary", text(item.get("message")), derived_from=replaced, **event)
        self._summed_up = len(self._draft.alive()) - 1

    def _item(self, record: Record, item: dict[str, Any], event: dict[str, Any]) -> None:
        kind = name(item.get("type"))
        event["id"] = "" if kind.endswith("_call") else name(item.get("id"))
        if kind == "message":
            self._message(item, event)
        elif kind == "reasoning":
            parts = [*sequence(item.get("summary")), *sequence(item.get("content"))]
            self._draft.say("reasoning", content(parts), **event)
        elif kind in _OUTPUTS:
            told, status = _outcome(item.get("output", item.get("tools")))
            self._draft.result(name(item.get("call_id")), told, status=status, **event)
        elif kind.endswith("_call"):
            self._call(kind, item, event)
        elif kind not in BOOKKEEPING:
            self._draft.not_known(kind, record, **event)

    def _message(self, item: dict[str, Any], event: dict[str, Any]) -> None:
        told, role = content(item.get("content")), name(item.get("role"))
        if role == "assistant":
            self._draft.say("assistant_message", told, **event)
        elif role == "user":
            is_program = told.text.lstrip().startswith(_BOILERPLATE)
            self._draft.say("notice" if is_program else "user_message", told, **event)
        else:
            self._draft.say("system_message", told, **event)

    def _call(self, kind: str, item: dict[str, Any], event: dict[str, Any]) -> None:
        call = name(item.get("call_id")) or name(item.get("id"))
        server, tool = split_tool(name(item.get("name")) or kind.removesuffix("_call"))
        space = name(item.get("namespace"))
        if space.startswith("mcp__"):
            server = space.removeprefix("mcp__").removesuffix("__")
        given = item.get("arguments", item.get("input", item.get("action")))
        self._draft.call(call, tool, given, server=server, **event)


def _outcome(output: Any) -> tuple[Content, Status]:
    """Return what a call brought, whole, and how it ended."""
    is_error = False
    if isinstance(output, dict):
        is_error = output.get("success") is False or output.get("is_error") is True
        output = output.get("content", output)
    told = content(output)
    if told.text.startswith(
        ("exec command rejected by user", "rejected by user", "patch rejected")
    ):
        return told, "denied"
    start = told.text[:_HEADER_CHARS]
    return told, "error" if is_error or _FAILED.search(start) or _wrapped(told.text) else "ok"


def _wrapped(told: str) -> bool:
    """Whether a result in the wrapping of older versions, `{output, metadata}`, failed."""
    if not (told.startswith('{"') and '"exit_code":' in told[-200:]):
        return False
    match = re.search(r'"exit_code":\s*(-?\d{1,6})', told[-200:])
    return match is not None and int(match[1]) != 0

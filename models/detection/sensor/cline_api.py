"""What Cline's model was told and said: blocks of Anthropic, calls in them or as XML in texts."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from models.detection.sensor.cline_xml import Piece, pieces, result_header
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError
from models.detection.sensor.values import Content, content, mapping, name, seconds, sequence, text
from models.detection.session import Status

_USER_TAGS = ("task", "feedback", "user_message", "answer", "new_task_message")
_SPOKEN = re.compile(rf"\s*<({'|'.join(_USER_TAGS)})>\n?")
_PROGRAM = ("<environment_details>", "[ERROR]", "[TASK RESUMPTION]", "# Reminder:", "<explicit_")
_FAILED = ("The tool execution failed", "Error executing", "Error:", "<error>", "<tool_use_error>")
_DENIED = ("The user denied this operation", "The user rejected")
_ENVIRONMENT = "<environment_details>"
_NATIVE_MCP = "0mcp0"
"""Between server and tool in names of native calls (Cline 3.35 on)."""


class Conversation:
    """Reads the messages of a task in order.

    Args:
        draft: Takes them.
        history: All of them, to know the names of tools from headers of results.
        times: When each was said, by its place, where the user's view tells.
        thoughts: Reasoning that only the user's view has, by the place of its message.
    """

    def __init__(
        self,
        draft: Draft,
        history: Sequence[Any],
        times: Mapping[int, float],
        thoughts: Mapping[int, str],
    ) -> None:
        self._draft = draft
        self._times = times
        self._thoughts = thoughts
        self._waiting: deque[tuple[str, str]] = deque()
        self._number = -1
        self._tools = {
            header.tool
            for message in history
            for told in _texts(mapping(message).get("content"))
            if (header := result_header(told))
        }

    def message(self, record: Record) -> None:
        """Take a message.

        Raises:
            BadRecordError: It has no role that is known.
        """
        self._number += 1
        value, role = record.value, name(record.value.get("role"))
        when = seconds(value.get("ts")) or self._times.get(self._number)
        event: dict[str, Any] = {"time_s": when, "place": record.place}
        if value.get("type") == "reasoning":
            told = content([*sequence(value.get("summary")), value.get("text") or ""])
            self._draft.say("reasoning", told, **event)
        elif role == "assistant":
            self._draft.note("model", mapping(value.get("modelInfo")).get("modelId"))
            self._assistant(value, event)
        elif role == "user" and value.get("isSummary") is True:
            replaced = self._draft.alive()
            told = content(value.get("content"))
            self._draft.add("summary", told.text, derived_from=replaced, **event)
        elif role == "user":
            self._user(value, event)
        else:
            raise BadRecordError(f"a message of role {role or 'none'!r}")

    # ---- what the model said

    def _assistant(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        blocks = _blocks(value.get("content"))
        is_thought = any(mapping(b).get("type") == "thinking" for b in blocks)
        thought = text(value.get("reasoning_content")) or self._thoughts.get(self._number, "")
        if thought and not is_thought and "<thinking>" not in content(blocks).text:
            self._draft.add("reasoning", thought, **event)
        for block in blocks:
            kind = name(mapping(block).get("type"))
            if kind in ("thinking", "reasoning"):
                if told := text(block.get("thinking", block.get("text"))):
                    self._draft.add("reasoning", told, **event)
            elif kind == "tool_use":
                self._native(block, event)
            elif kind == "text" or isinstance(block, str):
                for piece in pieces(content([block]).text, self._tools):
                    self._piece(piece, event)
            elif kind != "redacted_thinking":
                self._draft.say("assistant_message", content([block]), **event)

    def _native(self, block: dict[str, Any], event: dict[str, Any]) -> None:
        full, given = name(block.get("name")), block.get("input")
        server, mark, tool = full.partition(_NATIVE_MCP)
        if not mark:
            server, tool = "", full
        if full == "use_mcp_tool" and isinstance(given, dict):
            server, tool, given = _mcp(given)
        call = name(block.get("id")) or name(block.get("call_id"))
        self._draft.call(call, tool, given, server=server, **event)

    def _piece(self, piece: Piece, event: dict[str, Any]) -> None:
        if not piece.tool:
            self._draft.add("assistant_message", piece.text, **event)
        elif piece.tool == "thinking":
            self._draft.add("reasoning", piece.text, **event)
        else:
            server, tool, given = "", piece.tool, dict[str, Any](piece.arguments or {})
            if piece.tool == "use_mcp_tool":
                server, tool, given = _mcp(given)
            call = f"xml{len(self._draft.events) + 1}"
            self._draft.call(call, tool, given, server=server, **event)
            self._waiting.append((piece.tool, call))

    # ---- what it was told

    def _user(self, value: dict[str, Any], event: dict[str, Any]) -> None:
        open_result: tuple[str, list[Content]] | None = None
        for block in _blocks(value.get("content")):
            told = content([block])
            if mapping(block).get("type") == "tool_result":
                inner = content(block.get("content"))
                failed = block.get("is_error") is True
                self._result(name(block.get("tool_use_id")), [inner], event, failed)
                continue
            head, mark, environment = told.text.partition(_ENVIRONMENT)
            header = result_header(head)
            if header is not None:
                self._close(open_result, event)
                call = self._answered(header.tool)
                open_result = (call, [Content(header.rest, told.images, told.unknown)])
            elif _is_spoken(head) or head.startswith(_PROGRAM):
                self._close(open_result, event)
                open_result = None
                self._spoken(told._replace(text=head), event)
            elif open_result is not None:
                open_result[1].append(told._replace(text=head))
            else:
                self._spoken(told._replace(text=head), event)
            if mark:
                self._close(open_result, event)
                open_result = None
                self._draft.add("notice", mark + environment, **event)
        self._close(open_result, event)

    def _close(self, result: tuple[str, list[Content]] | None, event: dict[str, Any]) -> None:
        if result is not None:
            self._result(result[0], result[1], event)

    def _answered(self, tool: str) -> str:
        """Return the call that a result with this header is for: the first one that waits."""
        for waiting in self._waiting:
            if waiting[0] == tool:
                self._waiting.remove(waiting)
                return waiting[1]
        return ""

    def _result(
        self, call: str, parts: Sequence[Content], event: dict[str, Any], failed: bool = False
    ) -> None:
        whole = "\n".join(part.text for part in parts if part.text).strip("\n")
        images = tuple(image for part in parts for image in part.images)
        unknown = tuple(kind for part in parts for kind in part.unknown)
        status: Status = "error" if failed or whole.lstrip().startswith(_FAILED) else "ok"
        if whole.lstrip().startswith(_DENIED):
            status = "denied"
        self._draft.result(call, Content(whole, images, unknown), status=status, **event)

    def _spoken(self, told: Content, event: dict[str, Any]) -> None:
        if match := _SPOKEN.match(told.text):
            inside = told.text[match.end() :]
            end = inside.rfind(f"</{match[1]}>")
            inside = inside[:end] if end >= 0 else inside
            self._draft.say("user_message", told._replace(text=inside.strip("\n")), **event)
        else:
            is_program = told.text.startswith(_PROGRAM)
            self._draft.say("notice" if is_program else "user_message", told, **event)


def _is_spoken(told: str) -> bool:
    return _SPOKEN.match(told) is not None


def _blocks(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _texts(value: Any) -> list[str]:
    return [content([block]).text for block in _blocks(value)]


def _mcp(given: Mapping[str, Any]) -> tuple[str, str, Any]:
    """Return server, tool and arguments of a call of `use_mcp_tool`."""
    inner = given.get("arguments", "")
    return text(given.get("server_name")), text(given.get("tool_name")) or "use_mcp_tool", inner

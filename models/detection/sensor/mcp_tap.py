"""What passed between an MCP client and a server, as `loom detect tap` records it.

A line is `{"time", "from", "text" or "base64"}`; a plain stream of JSON-RPC messages is read too.
Source of messages: modelcontextprotocol.io/specification, stdio transport.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from models.detection.sensor.base import Source, files_at, head_of, is_file
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.values import content, mapping, name, seconds, sequence, text
from models.detection.session import Session, ToolManifest

_QUIET = frozenset(
    (
        "ping", "notifications/initialized", "notifications/progress", "logging/setLevel",
        "notifications/cancelled", "completion/complete", "roots/list", "resources/subscribe",
        "resources/unsubscribe", "notifications/roots/list_changed",
    )
)  # fmt: skip
_BEGINS = ("initialize", "server/discover")
_META = "io.modelcontextprotocol/"
"""Where versions from 2026-07-28 on say who speaks, in each message."""

_READS = ("resources/read", "prompts/get")
_LISTS = ("resources/list", "resources/templates/list", "prompts/list")


class McpTap:
    """Records of MCP servers that speak over their standard streams."""

    name = "mcp-tap"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the records below `.loom` in the home folder."""
        for path in files_at(home / ".loom", ["detection/taps/*.jsonl"], unreadable):
            yield Source(path, (path,))

    def source(self, path: Path) -> Source | None:
        """Return the record of a file."""
        if not is_file(path):
            return None
        records = head_of(path).records
        is_record = any("from" in r and ("text" in r or "base64" in r) for r in records)
        is_stream = any(r.get("jsonrpc") == "2.0" for r in records)
        return Source(path, (path,)) if is_record or is_stream else None

    def read(self, source: Source) -> list[Session]:
        """Read a record."""
        draft = Draft(self.name)
        reading = _Reading(draft)
        for record in draft.lines(source.path):
            draft.take(record, reading.record)
        return [draft.session(source.path.stem)]


class _Reading:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._server = ""
        self._asked: dict[tuple[str, str], tuple[str, str]] = {}
        """Method and call of each request that has no answer yet, by side and id."""

    def record(self, record: Record) -> None:
        value = record.value
        event: dict[str, Any] = {"time_s": seconds(value.get("time")), "place": record.place}
        if "jsonrpc" in value:
            self._message(value, "", record, event)
            return
        side, raw = name(value.get("from")), _bytes(value)
        if side == "tap":
            self._draft.note("command", value.get("command"))
        elif side not in ("client", "server"):
            self._draft.add(
                "notice", f"{side or 'nobody'}: {raw.decode('utf-8', 'replace')}", **event
            )
        elif raw.strip():
            message, mended = decode(raw)
            self._draft.mended.update(mended)
            for one in message if isinstance(message, list) else [message]:
                if not isinstance(one, dict):
                    raise BadRecordError(f"a {type(one).__name__} and no message")
                self._message(one, side, record, event)

    def _message(
        self, message: dict[str, Any], side: str, record: Record, event: dict[str, Any]
    ) -> None:
        method = message.get("method")
        if isinstance(method, str):
            params = mapping(message.get("params"))
            self._request(method, params, message.get("id"), side or "client", record, event)
        elif "result" in message or "error" in message:
            other = {"client": ("server",), "server": ("client",)}.get(side, ("client", "server"))
            keys = [(one, text(message.get("id"))) for one in other]
            asked = next((self._asked.pop(key) for key in keys if key in self._asked), None)
            if asked is None:
                self._draft.mended["answer to no request"] += 1
                self._draft.add("notice", f"answer to no request: {text(message)}", **event)
            else:
                self._answer(*asked, message, event)
        else:
            raise BadRecordError("no request, no answer, no notification")

    def _request(
        self, method: str, params: dict[str, Any], id: Any, side: str, record: Record,
        event: dict[str, Any],
    ) -> None:  # fmt: skip
        call, draft = "", self._draft
        if method in ("tools/call", *_READS) and side == "client":
            call = f"{side}:{text(id)}"
            tool = text(params.get("name")) if method == "tools/call" else method
            given = params.get("arguments") if method == "tools/call" else params
            call = draft.call(call, tool, given, server=self._server or "mcp", **event)
        elif method in _BEGINS:
            meta = mapping(params.get("_meta"))
            draft.note("client", _named(params.get("clientInfo") or meta.get(f"{_META}clientInfo")))
        elif method in ("sampling/createMessage", "elicitation/create", "notifications/message"):
            draft.add("notice", f"{side}: {method} {text(params)}", **event)
        elif method.endswith("list_changed"):
            draft.add("notice", f"{side}: {method}", **event)
        elif method not in (*_QUIET, *_LISTS, "tools/list"):
            draft.not_known(method, record, **event)
        if id is not None:
            self._asked[side, text(id)] = (method, call)

    def _answer(
        self, method: str, call: str, message: dict[str, Any], event: dict[str, Any]
    ) -> None:
        draft, result, error = self._draft, mapping(message.get("result")), message.get("error")
        if call:
            self._result(call, result, error, event)
        elif error is not None:
            draft.add("notice", f"{method} failed: {text(error)}", **event)
        elif method in _BEGINS:
            meta = mapping(result.get("_meta"))
            server = result.get("serverInfo") or meta.get(f"{_META}serverInfo")
            self._server = name(mapping(server).get("name")) or self._server
            draft.note("server", _named(server))
            draft.note("protocol", result.get("protocolVersion") or result.get("supportedVersions"))
            if told := text(result.get("instructions")):
                draft.add("system_message", told, **event)
        elif method == "tools/list":
            for tool in map(mapping, sequence(result.get("tools"))):
                draft.manifests.append(
                    ToolManifest(
                        self._server or "mcp", text(tool.get("name")),
                        text(tool.get("description")), _object(tool.get("inputSchema")),
                        event["time_s"], text(tool.get("title")),
                        _object(tool.get("outputSchema")), _object(tool.get("annotations")),
                        is_whole=True,
                    )
                )  # fmt: skip
        elif method in (*_LISTS, "sampling/createMessage", "elicitation/create"):
            draft.add("notice", f"answer to {method}: {text(result)}", **event)

    def _result(self, call: str, result: dict[str, Any], error: Any, event: dict[str, Any]) -> None:
        if error is not None:
            why = text(mapping(error).get("message")) or text(error)
            self._draft.add("tool_result", why, status="error", responds_to=call, **event)
            return
        parts = sequence(result.get("content", result.get("contents", result.get("messages"))))
        told = content([one if "type" in mapping(one) else _plain(one) for one in parts])
        structured = result.get("structuredContent")
        whole = told.text
        if structured is not None and not _says(whole, structured):
            whole = "\n".join(filter(None, (whole, text(structured))))
        failed = result.get("isError") is True
        status: Any = "error" if failed else "ok"
        self._draft.add("tool_result", whole, status=status, responds_to=call, **event)
        self._draft.pictures(told, **event)


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _named(who: Any) -> str:
    values = mapping(who)
    return " ".join(filter(None, (text(values.get("name")), text(values.get("version")))))


def _plain(part: Any) -> Any:
    """Make a block of a part of a resource or of a prompt."""
    values = mapping(part)
    if "content" in values:
        return mapping(values["content"]) or values["content"]
    return {"type": "resource", "resource": values} if values else part


def _says(told: str, structured: Any) -> bool:
    """Whether a text is the JSON of a value, as servers repeat it for older clients."""
    try:
        return bool(msgspec.json.decode(told.encode()) == structured)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False


def _bytes(value: dict[str, Any]) -> bytes:
    if isinstance(value.get("text"), str):
        return str(value["text"]).encode("utf-8", "replace")
    try:
        return base64.b64decode(name(value.get("base64")), validate=True)
    except (binascii.Error, ValueError):
        raise BadRecordError("its base64 cannot be read") from None

"""The events of a conversation of our own agents, from its export or its database.

Every event of the log becomes one here or more; what has no kind of its own is a notice with its
body. Hashes of an export that do not fit say that it was changed after it was written.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from models.agents.errors import AgentError
from models.agents.events.codec import Record as Logged
from models.agents.events.codec import decode_record
from models.agents.events.types import (
    Answer,
    Body,
    Condensed,
    Intent,
    Notice,
    Result,
    Started,
    SystemPrompt,
    UserMessage,
)
from models.agents.events.types import Event as Logged_
from models.agents.store.log import EMPTY_CHAIN, link
from models.agents.store.schema import RECORD, STORED
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError
from models.detection.sensor.snapshot import is_database, rows, snapshot
from models.detection.sensor.values import Content, content, mapping, name, text
from models.detection.session import Session, Status
from models.llm.messages import Image, Message, Reasoning, Text

_LATEST_S = 1e11
_OUTCOMES: dict[str, Status] = {
    "ok": "ok", "error": "error", "rejected": "denied", "cancelled": "error", "unknown": "missing",
}  # fmt: skip
_BODY, _CHAIN = b',"body":', b',"chain":"'


def read_conversation(agent: str, path: Path) -> Session:
    """Read a conversation; what cannot be read is in its coverage.

    Args:
        agent: Name of the format.
        path: An export or a database.
    """
    draft = Draft(agent)
    reading = _Reading(draft)
    if is_database(path):
        id = _database(draft, reading, path)
    else:
        id = ""
        for record in draft.lines(path):
            if "conversation" in record.value and "seq" not in record.value:
                id = id or name(record.value["conversation"])
            else:
                draft.take(record, reading.line)
    reading.end()
    return draft.session(id or path.stem)


def _database(draft: Draft, reading: _Reading, path: Path) -> str:
    id, damaged = "", list[str]()
    read = f"SELECT {RECORD} FROM {STORED} ORDER BY e.seq"
    try:
        with snapshot(path) as db:
            for (found,) in rows(db, "SELECT id FROM meta"):
                id = text(found)
            for row in rows(db, read, (), damaged):
                draft.records += 1
                place = f"{path.name}#event:{row[0]}"
                body = row[7] if isinstance(row[7], bytes) else text(row[7]).encode()
                draft.take(Record(place, {}, body), partial(reading.row, row, body))
    except BadRecordError as error:
        damaged.append(str(error))
    for why in damaged:
        draft.records += 1
        draft.put_aside(path.name, why)
    return id


class _Reading:
    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._chain = EMPTY_CHAIN
        self._seqs: dict[int, list[str]] = {}
        self._parents: dict[str, str | None] = {}
        self._ends: dict[str, str | None] = {}
        self._of: dict[str, str] = {}
        self._last = ""

    def line(self, record: Record) -> None:
        """Take a line of an export."""
        _, mark, rest = record.raw.partition(_BODY)
        body, end, stated = rest.rpartition(_CHAIN)
        if not (mark and end):
            # Written anew by another program: its body is what the object says.
            body = msgspec.json.encode(record.value.get("body"))
            stated = text(record.value.get("chain")).encode() + b'"}'
        logged = _logged(record.value, body)
        self._chain = link(self._chain, logged)
        said = stated.strip()[:-2].decode("utf-8", "replace")
        if said != self._chain.hex():
            self._draft.mended["record that is not as it was written"] += 1
            # From here on the stated hash is what the next one was made of.
            self._chain = bytes.fromhex(said) if _is_hash(said) else self._chain
        self._take(logged, record)

    def row(self, row: tuple[Any, ...], body: bytes, record: Record) -> None:
        """Take a row of a database."""
        keys = ("seq", "id", "parent", "kind", "source", "ts", "call_id")
        self._take(_logged(dict(zip(keys, row[:7], strict=True)), body), record)

    def end(self) -> None:
        """Mark what does not lead to the last event."""
        path: set[str] = set()
        at: str | None = self._last
        while at and at not in path:
            path.add(at)
            at = self._parents.get(at)
        for place, event in enumerate(self._draft.events):
            if self._of.get(event.id, self._last) not in path:
                changed = msgspec.structs.replace(event, is_abandoned=True)
                self._draft.events[place] = changed

    def _take(self, logged: Logged, record: Record) -> None:
        try:
            event = decode_record(logged)
        except (AgentError, ValueError, TypeError, RecursionError) as error:
            raise BadRecordError(f"event {logged.seq} cannot be read: {str(error)[:200]}") from None
        draft, first = self._draft, len(self._draft.events)
        draft.tails[""] = self._ends.get(event.parent) if event.parent else None
        told = {"time_s": event.ts, "place": record.place}
        self._event(event, {**told, "id": event.id}, told)
        made = [one.id for one in draft.events[first:]]
        self._seqs[event.seq] = made
        self._of.update(dict.fromkeys(made, event.id))
        self._parents[event.id] = event.parent
        self._ends[event.id] = draft.tails[""]
        self._last = event.id

    def _event(self, event: Logged_, named: dict[str, Any], more: dict[str, Any]) -> None:
        body, draft = event.body, self._draft
        match body:
            case Started():
                draft.note("model", mapping(body.agent).get("model"))
                draft.note("workspace", body.workspace)
                draft.note("parent_conversation", body.parent_conversation)
                self._other(body, event, named)
            case SystemPrompt():
                draft.add("system_message", text(body.text), **named)
            case UserMessage():
                draft.say("user_message", _said(body.message), **named)
            case Notice():
                draft.add("notice", text(body.text), **named)
            case Answer():
                self._answer(body, named, more)
            case Intent():
                full = text(body.name)
                server, mark, tool = full.partition("__")
                server, tool = (server, tool) if mark and tool else ("", full)
                draft.call(name(body.call_id), tool, body.arguments, server=server, **named)
            case Result():
                if mcp := mapping(body.data):
                    self._name(name(body.call_id), name(mcp.get("server")), name(mcp.get("tool")))
                told = Content(text(body.text), _images(body.images))
                status = _OUTCOMES.get(name(body.outcome), "error")
                draft.result(name(body.call_id), told, status=status, **named)
            case Condensed():
                draft.add("summary", text(body.summary), derived_from=self._span(body), **named)
            case _:
                self._other(body, event, named)

    def _span(self, body: Condensed) -> list[str]:
        first, last = body.keep_until, body.tail_from
        if not (isinstance(first, int) and isinstance(last, int)):
            raise BadRecordError("a condensation without its span")
        return [id for seq, ids in self._seqs.items() if first < seq < last for id in ids]

    def _name(self, call: str, server: str, tool: str) -> None:
        known = self._draft.call_events.get(call)
        if known is not None and server:
            self._draft.name_server(known, server, tool)

    def _answer(self, body: Answer, named: dict[str, Any], more: dict[str, Any]) -> None:
        for part in body.message.parts:
            if isinstance(part, Reasoning) and part.text:
                self._draft.add("reasoning", part.text, **more)
        self._draft.note("model", body.model)
        self._draft.say("assistant_message", _said(body.message), **named)

    def _other(self, body: Body, event: Logged_, named: dict[str, Any]) -> None:
        raw = getattr(body, "raw", None)
        if raw is not None:
            self._draft.unknown[getattr(body, "original", "unknown")[:100]] += 1
        values = raw.decode("utf-8", "replace") if raw is not None else _shown(body)
        self._draft.add("notice", f"{event.kind}: {values}", **named)


def _shown(body: Body) -> str:
    values = {key: getattr(body, key) for key in body.__dataclass_fields__}
    return msgspec.json.encode(values, enc_hook=str).decode()


def _logged(values: dict[str, Any], body: bytes) -> Logged:
    seq, ts, parent = values.get("seq"), values.get("ts"), values.get("parent")
    words = [values.get(key) for key in ("id", "kind", "source", "call_id")]
    is_right = isinstance(seq, int) and 0 <= seq < 2**63 and isinstance(ts, int | float)
    is_right = is_right and abs(ts or 0) < _LATEST_S
    if not (is_right and all(isinstance(word, str) for word in words)):
        raise BadRecordError("no event of a conversation: its envelope is not whole")
    id, kind, source, call = (str(word) for word in words)
    return Logged(int(seq or 0), id, name(parent) or None, kind, source, float(ts or 0), call, body)


def _is_hash(said: str) -> bool:
    return len(said) == 64 and all(digit in "0123456789abcdef" for digit in said)


def _said(message: Message) -> Content:
    texts = [part.text for part in message.parts if isinstance(part, Text)]
    return Content("\n".join(texts), _images([p for p in message.parts if isinstance(p, Image)]))


def _images(images: Any) -> tuple[str, ...]:
    blocks = [
        {"type": "image", "source": {"media_type": one.media_type, "data": one.data or one.url}}
        for one in images
    ]
    return content(blocks).images

"""Events to JSON and back. A body is encoded once, when it is committed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, NamedTuple, cast

import orjson

from models.agents.errors import LogError
from models.agents.events.sayable import dumps
from models.agents.events.types import BODIES, Body, Event, Source, Unknown
from models.agents.events.upcast import upcast, version_of
from models.llm import Image, Message, Text, ToolCall, Usage


class Record(NamedTuple):
    """An event as it is stored and sent: the body is JSON already."""

    seq: int
    id: str
    parent: str | None
    kind: str
    source: str
    ts: float
    call_id: str
    body: bytes

    @property
    def wire(self) -> bytes:
        """One JSON object: the frame of sockets, and the line of exports."""
        envelope = orjson.dumps(
            {
                "seq": self.seq,
                "id": self.id,
                "parent": self.parent,
                "kind": self.kind,
                "source": self.source,
                "ts": self.ts,
                "call_id": self.call_id,
            }
        )
        return b'%s,"body":%s}' % (envelope[:-1], self.body)


def new_event(body: Body, source: Source = "environment", parent: str | None = None) -> Event:
    """Make an event that happens now."""
    now = time.time()
    # The moment goes first: ids that rise touch the last page of an index and not a random one.
    name = f"{int(now * 1e6):014x}{os.urandom(6).hex()}"
    return Event(body, source, name, parent, now)


_PLAIN_MESSAGE = {"role", "parts", "tool_calls"}


def _image(values: Mapping[str, Any]) -> Image:
    return Image(
        values.get("url", ""), values.get("data", ""), values.get("media_type", "image/png")
    )


def _message(values: Mapping[str, Any]) -> Message:
    """Read a message; most are texts and calls, which need no looking around."""
    if values.keys() <= _PLAIN_MESSAGE:
        parts = values.get("parts", ())
        # Lists and no generators, here and below: this is most of what reading a long log costs.
        if not [part for part in parts if part["kind"] != "text"]:
            return Message(
                values["role"],
                tuple([Text(part.get("text", "")) for part in parts]),
                tuple(
                    [
                        ToolCall(call["id"], call["name"], call["arguments"])
                        for call in values.get("tool_calls", ())
                    ]
                ),
            )
    return Message.from_dict(dict(values))


def _plain(value: Any) -> Any:
    """Write what orjson would write in another way than we read it."""
    if isinstance(value, Message):
        return value.to_dict()
    if isinstance(value, Image):
        return {"data": value.data, "media_type": value.media_type, "url": value.url}
    if isinstance(value, Usage):
        return {key: item for key, item in vars(value).items() if item}
    raise TypeError(f"an event holds plain JSON values, found a {type(value).__name__}")


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "Message": _message,
    "Usage": lambda values: Usage(**values),
    "tuple[Image, ...]": lambda values: tuple(_image(entry) for entry in values),
    "tuple[str, ...]": tuple,
}
"""By the type of a field, as it is written."""


class _Shape(NamedTuple):
    defaults: tuple[tuple[str, Any], ...]
    readers: tuple[tuple[str, Callable[[Any], Any]], ...]
    known: frozenset[str]


def _shape(kind: type[Body]) -> _Shape:
    entries = fields(kind)
    defaults = tuple((entry.name, _default(entry)) for entry in entries)
    names = tuple(entry.name for entry in entries)
    types = {entry.name: str(entry.type) for entry in entries}
    readers = tuple((n, _READERS[types[n]]) for n in names if types[n] in _READERS)
    return _Shape(defaults, readers, frozenset(names))


def _default(entry: Field[Any]) -> Any:
    # No message is left out, so none needs to be compared.
    if entry.type == "Message":
        return None
    factory = entry.default_factory
    return entry.default if factory is MISSING else factory()


_SHAPES: dict[str, _Shape] = {kind: _shape(body) for kind, body in BODIES.items()}

# Ours are dataclasses too, but a message has its own JSON form.
_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_NON_STR_KEYS


def encode_body(body: Body) -> bytes:
    """Write a body as JSON; what is at its default is left out, what JSON cannot say in words."""
    return stored(body)[0]


def stored(body: Body) -> tuple[bytes, Body]:
    """Return a body as JSON, and the body that this says: the same, but for what is in words."""
    if isinstance(body, Unknown):
        return body.raw, body
    shape = _SHAPES[body.kind]
    values = {}
    for name, default in shape.defaults:
        value = getattr(body, name)
        if value is not default and value != default:
            values[name] = value
    version = version_of(body.kind)
    if version != 1:
        values["v"] = version
    raw, is_changed = dumps(values, _plain, _OPTIONS)
    return raw, decode_body(body.kind, raw) if is_changed else body


def decode_body(kind: str, raw: bytes) -> Body:
    """Read a body of any version; a kind that we do not know is kept as it is.

    Raises:
        LogError: It is no JSON object, or of a later version.
    """
    body_type = BODIES.get(kind)
    if body_type is None:
        return Unknown(kind, raw)
    shape = _SHAPES[kind]
    try:
        values = orjson.loads(raw)
        if "v" in values or version_of(kind) != 1:
            values = upcast(kind, values)
        for name, read in shape.readers:
            if name in values:
                values[name] = read(values[name])
        if not values.keys() <= shape.known:
            values = {name: value for name, value in values.items() if name in shape.known}
        return body_type(**values)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, LogError):
            raise
        raise LogError(
            f"the body of an event of kind '{kind}' cannot be read ({error!r}); the log is damaged"
        ) from None


def encode(event: Event) -> Record:
    """Make the record of an event that has its place in a log."""
    return Record(
        event.seq,
        event.id,
        event.parent,
        event.kind,
        event.source,
        event.ts,
        event.call_id,
        encode_body(event.body),
    )


def decode_record(record: Record) -> Event:
    """Make the event of a record."""
    body = decode_body(record.kind, record.body)
    source = cast(Source, record.source)
    return Event(body, source, record.id, record.parent, record.ts, record.seq)

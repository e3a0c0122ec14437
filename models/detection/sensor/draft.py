"""A session while it is read: events so far, and how much of the record was read."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.detection.sensor.jsonl import (
    LARGEST_DOCUMENT_BYTES,
    BadRecordError,
    decode,
    read_lines,
    salvage,
)
from models.detection.sensor.values import Content, arguments, text
from models.detection.session import (
    Coverage,
    Event,
    Kind,
    Quarantined,
    Session,
    Status,
    ToolCall,
    ToolManifest,
)


class Record(NamedTuple):
    """A record of a log: a JSON object, and where it stands.

    Attributes:
        place: `file:line` or `file#key`.
        value: The object.
        raw: Its bytes, where it had some of its own.
    """

    place: str
    value: dict[str, Any]
    raw: bytes = b""


class Draft:
    """Takes what a parser finds; a bad record is put aside and the session goes on.

    Args:
        agent: Program whose log it is.
    """

    def __init__(self, agent: str) -> None:
        self.agent = agent
        self.events: list[Event] = []
        self.manifests: list[ToolManifest] = []
        self.records = 0
        self.unknown: Counter[str] = Counter()
        self.mended: Counter[str] = Counter()
        self.quarantined: list[Quarantined] = []
        self.tails: dict[str, str | None] = {}
        """Last event of each actor, on the branch that goes on."""
        self.call_events: dict[str, str] = {}
        """Events of calls by the ids that the record gives them."""
        self._environment: dict[str, list[str]] = {}
        self._asked: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._ids: Counter[str] = Counter()
        self._call_ids: Counter[str] = Counter()

    # ---- records

    def lines(self, path: Path) -> Iterator[Record]:
        """Give the objects of a file of JSON lines."""
        try:
            for line in read_lines(path):
                place = f"{path.name}:{line.number}"
                if line.raw is None:
                    self.records += 1
                    self.put_aside(place, f"a line of {line.bytes} bytes", digest=line.digest)
                    continue
                try:
                    value, mended = decode(line.raw)
                    if not isinstance(value, dict):
                        raise BadRecordError(f"a {type(value).__name__} and no object")
                except BadRecordError as error:
                    if not line.is_whole:
                        # It is being written; the next reading finds it whole.
                        self.mended["last line that is not whole yet"] += 1
                        continue
                    self.records += 1
                    self.put_aside(place, str(error), line.raw)
                    continue
                self.records += 1
                self.mended.update(mended)
                yield Record(place, value, line.raw)
        except OSError as error:
            self._not_read(path, error)

    def document(self, path: Path, key: str = "") -> Any:
        """Read a file that is one JSON document; None: it cannot be read.

        Of a document that breaks off the elements of its array are read.

        Args:
            path: The file.
            key: Name of the array whose elements are worth saving; empty: it is an array.
        """
        try:
            size = path.stat().st_size
            if size > LARGEST_DOCUMENT_BYTES:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                self.records += 1
                self.put_aside(path.name, f"a document of {size} bytes", digest=digest)
                return None
            raw = path.read_bytes()
        except OSError as error:
            self._not_read(path, error)
            return None
        try:
            value, mended = decode(raw)
        except BadRecordError as error:
            whole = raw.decode("utf-8", "replace")
            found, end = salvage(whole, key)
            rest = whole[end:].encode("utf-8", "replace")
            self.records += 1
            self.put_aside(f"{path.name}#{end}", str(error), rest)
            return ({key: found} if key else found) if found else None
        self.mended.update(mended)
        return value

    def elements(self, path: Path, values: Iterable[Any]) -> Iterator[Record]:
        """Give the objects among the elements of an array."""
        for number, value in enumerate(values):
            self.records += 1
            place = f"{path.name}#{number}"
            if isinstance(value, dict):
                yield Record(place, value)
            else:
                raw = msgspec.json.encode(value)
                self.put_aside(place, f"a {type(value).__name__} and no object", raw)

    def take(self, record: Record, read: Callable[[Record], None]) -> None:
        """Let `read` read a record; one that it cannot finish is put aside."""
        try:
            read(record)
        except BadRecordError as error:
            self.put_aside(
                record.place, str(error), record.raw or msgspec.json.encode(record.value)
            )

    def put_aside(self, place: str, reason: str, raw: bytes = b"", digest: str = "") -> None:
        """Quarantine a record."""
        if raw:
            digest = hashlib.sha256(raw).hexdigest()
        self.quarantined.append(Quarantined(place, reason, digest))

    def _not_read(self, path: Path, error: OSError) -> None:
        self.records += 1  # At least: a share that was read of nothing would be all of it.
        self.put_aside(path.name, f"cannot be read: {error.strerror or error}")

    def not_known(self, kind: str, record: Record, **event: Any) -> None:
        """Count a record of an unknown kind, and keep what it says as a notice."""
        self.unknown[kind[:100] or "record without a type"] += 1
        told = f"unknown record: {text(record.value)}"
        self.add("notice", told, **{"place": record.place, **event})

    # ---- events

    def note(self, key: str, value: Any) -> None:
        """Remember something of the environment; what changes is kept with what it was before."""
        shown = text(value)
        known = self._environment.setdefault(key, [])
        if shown and shown not in known:
            known.append(shown)

    def add(
        self,
        kind: Kind,
        told: str = "",
        *,
        id: str = "",
        time_s: float | None = None,
        actor: str = "",
        parent: str | None = "",
        status: Status = "ok",
        responds_to: str | None = None,
        derived_from: Iterable[str] = (),
        delegated_by: str | None = None,
        is_abandoned: bool = False,
        call: ToolCall | None = None,
        place: str = "",
    ) -> str:
        """Append an event and return its id; what is given is in `Event`.

        An id that is empty is made, one that came before is made unique. An empty `parent` is
        the last event of this actor. An answer responds to the last message of a user.
        """
        name = _unique(id or f"e{len(self.events) + 1}", self._ids)
        if id and name != id:
            self.mended["id that came twice"] += 1
        if parent == "":
            parent = self.tails.get(actor)
        if kind == "assistant_message" and responds_to is None:
            responds_to = self._asked.get(actor)
        event = Event(
            name, kind, told, call, status, time_s, actor, parent, responds_to,
            tuple(derived_from), delegated_by, is_abandoned, place,
        )  # fmt: skip
        self._places[name] = len(self.events)
        self.events.append(event)
        self.tails[actor] = name
        if kind == "user_message":
            self._asked[actor] = name
        return name

    def call(self, call_id: str, tool: str, given: Any, *, server: str = "", **event: Any) -> str:
        """Append a call; `given` are its arguments as recorded, `event` is what `add` takes."""
        by_name, raw = (None, "") if given is None else arguments(given)
        name = _unique(call_id or f"call{len(self.events) + 1}", self._call_ids)
        if call_id and name != call_id:
            self.mended["call id that came twice"] += 1
        made = self.add("tool_call", call=ToolCall(name, tool, server, by_name, raw), **event)
        if call_id:
            self.call_events[call_id] = made
        return made

    def result(self, call_id: str, told: Content, *, status: Status = "ok", **event: Any) -> str:
        """Append the result of a call, and a notice for each of its pictures."""
        responds_to = self.call_events.get(call_id)
        if responds_to is None:
            self.mended["result of no call"] += 1
        made = self.add("tool_result", told.text, status=status, responds_to=responds_to, **event)
        self.pictures(told, **event)
        return made

    def pictures(self, told: Content, **event: Any) -> None:
        """Append a notice for each picture, and count blocks of unknown kinds."""
        event.pop("id", None)
        event.pop("derived_from", None)
        event.pop("parent", None)
        for image in told.images:
            self.add("notice", image, **event)
        for kind in told.unknown:
            self.unknown[f"block:{kind[:100]}"] += 1

    def say(self, kind: Kind, told: Content, **event: Any) -> str | None:
        """Append a message if it says anything, and a notice for each of its pictures."""
        made = self.add(kind, told.text, **event) if told.text.strip() else None
        self.pictures(told, **event)
        return made

    def abandon(self, first: int, actor: str = "") -> None:
        """Mark the events of an actor from a place on as rewound; what follows goes on before."""
        for place in range(max(0, first), len(self.events)):
            event = self.events[place]
            if event.actor == actor and not event.is_abandoned:
                self.events[place] = msgspec.structs.replace(event, is_abandoned=True)
        before = (e for e in reversed(self.events[:first]) if e.actor == actor)
        alive = next((event for event in before if not event.is_abandoned), None)
        self.tails[actor] = alive.id if alive else None

    def name_server(self, id: str, server: str, tool: str) -> None:
        """Say which server's tool a call is for, where a later record tells."""
        place = self._places[id]
        event = self.events[place]
        if event.call is not None and not event.call.server:
            call = msgspec.structs.replace(event.call, server=server, tool=tool or event.call.tool)
            self.events[place] = msgspec.structs.replace(event, call=call)

    def alive(self, actor: str = "") -> list[str]:
        """Return the ids of an actor's events that were not rewound."""
        return [e.id for e in self.events if e.actor == actor and not e.is_abandoned]

    def session(self, id: str) -> Session:
        """Make the session."""
        coverage = Coverage(
            self.records, dict(self.unknown), tuple(self.quarantined), mended=dict(self.mended)
        )
        environment = {key: ", ".join(values) for key, values in self._environment.items()}
        return Session.of(
            id, self.events, agent=self.agent, manifests=self.manifests,
            environment={key: value for key, value in environment.items() if value},
            coverage=coverage,
        )  # fmt: skip


def _unique(wanted: str, taken: Counter[str]) -> str:
    """Return a name that is not taken, and take it; in constant time for a name that repeats."""
    taken[wanted] += 1
    found = wanted
    while taken[wanted] > 1:
        found = f"{wanted}~{taken[wanted]}"
        if not taken[found]:
            taken[found] += 1
            break
        taken[wanted] += 1
    return found

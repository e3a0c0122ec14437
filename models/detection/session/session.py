"""A session: events in causal order, checked once; and how much of its record was read."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import msgspec

from models.detection.session.events import SCHEMA, Event, ToolCall, ToolManifest
from models.errors import DataError


class Quarantined(msgspec.Struct, frozen=True):
    """A record that could not be read; it stays where it is.

    Attributes:
        place: `file:line` or `file#key`.
        reason: What is wrong with it.
        digest: SHA-256 of its bytes, hexadecimal; empty: they could not be read either.
    """

    place: str
    reason: str
    digest: str = ""


class Coverage(msgspec.Struct, frozen=True, omit_defaults=True):
    """How much of the record of a session was read.

    Attributes:
        records: Found, those that say nothing of the session included.
        unknown: Kinds that no parser knows, with how often they stood there.
        quarantined: Records that could not be read.
        missing_results: Calls without a result.
        mended: What had to be mended in the order of events, with how often.
    """

    records: int = 0
    unknown: dict[str, int] = {}
    quarantined: tuple[Quarantined, ...] = ()
    missing_results: int = 0
    mended: dict[str, int] = {}

    @property
    def share(self) -> float:
        """Share of the records that were read, in [0, 1]."""
        lost = len(self.quarantined) + sum(self.unknown.values())
        if not self.records:
            return 0.0 if lost else 1.0
        return max(0.0, 1 - lost / self.records)


class Session(
    msgspec.Struct, frozen=True, omit_defaults=True, dict=True, tag_field="schema", tag=SCHEMA
):
    """What one agent was told, thought, did and was answered.

    Attributes:
        id: Unique within its source.
        events: In causal order: an event's edges lead to earlier ones.
        agent: Program that ran it, `claude-code` for instance.
        manifests: Tools that were offered, where the record tells.
        environment: Folder, model, permission mode and the like, as recorded.
        coverage: How much of the record was read.
    """

    id: str
    events: tuple[Event, ...]
    agent: str = ""
    manifests: tuple[ToolManifest, ...] = ()
    environment: dict[str, str] = {}
    coverage: Coverage = Coverage()

    @cached_property
    def by_id(self) -> dict[str, Event]:
        """Events by their ids."""
        return {event.id: event for event in self.events}

    @cached_property
    def results(self) -> dict[str, Event]:
        """Results by the ids of their calls' events; the last one counts."""
        return {
            event.responds_to: event
            for event in self.events
            if event.kind == "tool_result" and event.responds_to is not None
        }

    def calls(self) -> Iterable[tuple[Event, ToolCall]]:
        """Yield calls in order."""
        for event in self.events:
            if event.call is not None:
                yield event, event.call

    def to_json(self) -> bytes:
        """Return it as one line of JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(line: bytes | str) -> Session:
        """Read a line that `to_json` wrote.

        Raises:
            DataError: It is something else, or of another version.
        """
        try:
            session: Session = _DECODER.decode(line)
        except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
            raise DataError(f"no session of {SCHEMA}: {error}") from None
        return session

    @staticmethod
    def of(
        id: str,
        events: Iterable[Event],
        *,
        agent: str = "",
        manifests: Iterable[ToolManifest] = (),
        environment: dict[str, str] | None = None,
        coverage: Coverage | None = None,
    ) -> Session:
        """Put events into a checked session; nothing is dropped, what is wrong is mended.

        Ids that come twice get a number, edges to events that are not there or not earlier are
        cut, calls without a result are counted: a record that was tampered with or cut is still
        a session.
        """
        coverage = coverage or Coverage()
        mended = dict(coverage.mended)
        ordered = _checked(events, mended)
        answered = {e.responds_to for e in ordered if e.kind == "tool_result"}
        missing = sum(e.call is not None and e.id not in answered for e in ordered)
        coverage = msgspec.structs.replace(coverage, missing_results=missing, mended=mended)
        return Session(id, tuple(ordered), agent, tuple(manifests), environment or {}, coverage)


_DECODER: Any = msgspec.json.Decoder(Session)


def _checked(events: Iterable[Event], mended: dict[str, int]) -> list[Event]:
    """Return events whose ids are unique and whose edges lead to earlier ones."""

    def count(what: str) -> None:
        mended[what] = mended.get(what, 0) + 1

    seen: set[str] = set()
    found: list[Event] = []
    for event in events:
        changes: dict[str, Any] = {}
        name, number = event.id, 2
        while name in seen:
            name, number = f"{event.id}~{number}", number + 1
        if name != event.id:
            count("id that came twice")
            changes["id"] = name
        for edge in ("parent", "responds_to", "delegated_by"):
            target = getattr(event, edge)
            if target is not None and target not in seen:
                count(f"{edge} that is not earlier")
                changes[edge] = None
        if event.derived_from and not seen.issuperset(event.derived_from):
            count("derived_from that is not earlier")
            changes["derived_from"] = tuple(one for one in event.derived_from if one in seen)
        seen.add(name)
        found.append(msgspec.structs.replace(event, **changes) if changes else event)
    return found

"""What every log does, wherever its records are kept."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from models.agents.errors import (
    CorruptLogError,
    DuplicateEventError,
    LogError,
    TakenError,
    UnknownParentError,
)
from models.agents.events.codec import Record, decode_body, decode_record, new_event, stored
from models.agents.events.types import Event, Intent, Result
from models.agents.state import Span, State
from models.agents.store.base import Damage, Gate

EMPTY_CHAIN = bytes(32)


class Row(NamedTuple):
    """A record with the hash that binds it to all before it."""

    record: Record
    chain: bytes


class Batch(NamedTuple):
    """What one transaction writes."""

    events: list[Event]
    rows: list[Row]
    state: State


def link(chain: bytes, record: Record) -> bytes:
    """Return the hash of a record that follows on `chain`: sha256 over both."""
    sha = hashlib.sha256(chain)
    sha.update(record.wire)
    return sha.digest()


class BaseLog(ABC):
    """A log over an abstract table of rows."""

    def __init__(self, conversation_id: str) -> None:
        self._id = conversation_id
        self._state = State()
        self._chain = EMPTY_CHAIN
        self._lock = threading.RLock()
        self._gate: Gate | None = None
        self._listeners: list[Callable[[Sequence[Event]], None]] = []
        self._damage: Damage | None = None

    @property
    def id(self) -> str:
        """The conversation's id."""
        return self._id

    @property
    def state(self) -> State:
        """What the log adds up to; to be read, not changed."""
        return self._state

    @property
    def damage(self) -> Damage | None:
        """Found when the log was opened; such a log is read-only."""
        return self._damage

    def use_gate(self, gate: Gate) -> None:
        """Pass every body through a gate before it is stored."""
        self._gate = gate

    def listen(self, listener: Callable[[Sequence[Event]], None]) -> Callable[[], None]:
        """Call a function after each commit or refresh; returns what ends that."""
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def commit(self, events: Sequence[Event]) -> list[Event]:
        """Append events in one transaction; see `Log.commit`."""
        with self._lock:
            if self._damage is not None:
                raise CorruptLogError(
                    f"conversation '{self._id}' is damaged after event {self._damage.intact_seq} "
                    f"({self._damage.why}) and takes no more events; `loom agent repair "
                    f"{self._id}` copies what is sound into a new one",
                    self._damage.intact_seq,
                )
            foreign, batch = self._append(lambda: self._prepare(events))
            self._adopt(batch)
            # Under the lock: listeners hear everything once and in order.
            if foreign:
                self._tell(foreign)
            self._tell(batch.events)
        return batch.events

    def copy_in(self, records: Sequence[Record]) -> None:
        """Fill an empty log with records of another one, byte for byte.

        Raises:
            TakenError: This log is not empty.
            UnknownParentError: A parent is not among the records.
        """
        with self._lock:
            if self._state.seq:
                raise self._taken()
            _, batch = self._append(lambda: self._prepare_copy(records))
            self._adopt(batch)

    def _taken(self) -> TakenError:
        return TakenError(
            f"conversation '{self._id}' has {self._state.seq} events already; copy into a new id"
        )

    def refresh(self) -> list[Event]:
        """Take in what other processes appended since, and return it."""
        return []

    def events(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Event]:
        """Read events in order, all branches."""
        return [decode_record(record) for record in self.records(after, limit, kinds)]

    @abstractmethod
    def records(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Record]:
        """Read stored events in order, all branches."""

    @abstractmethod
    def spans(self, spans: Sequence[Span], kinds: Iterable[str] = ()) -> list[Event]:
        """Read the events within spans of sequence numbers, in order."""

    @abstractmethod
    def _append(self, prepare: Callable[[], Batch]) -> tuple[list[Event], Batch]:
        """Take in foreign events, prepare ours, write them; all or nothing."""

    @abstractmethod
    def _seq_of(self, event_id: str) -> int | None: ...

    def _adopt(self, batch: Batch) -> None:
        self._state = batch.state
        if batch.rows:
            self._chain = batch.rows[-1].chain

    def _tell(self, events: Sequence[Event]) -> None:
        for listener in tuple(self._listeners):
            listener(events)

    def _prepare(self, events: Sequence[Event]) -> Batch:
        """Give events their place, and reduce them into a copy of the state."""
        state, chain = self._state.copy(), self._chain
        placed: list[Event] = []
        rows: list[Row] = []
        seqs: dict[str, int] = {}
        for event in events:
            seq, parent, parent_seq = state.seq + 1, event.parent, state.seq
            if parent is None:
                parent = state.head
            elif parent != state.head:
                found = seqs.get(parent) or self._seq_of(parent)
                if found is None:
                    raise UnknownParentError(
                        f"event '{event.id}' follows on '{parent}', which is not in conversation "
                        f"'{self._id}'; leave `parent` out to follow on its head"
                    )
                parent_seq = found
            if event.id in seqs:
                raise duplicate(self._id, f"event '{event.id}'")
            raw, body = stored(event.body)
            if self._gate is not None and (clean := self._gate(raw)) is not raw:
                raw, body = clean, decode_body(event.kind, clean)
            name, ts = event.id or new_event(body).id, event.ts or time.time()
            done = Event(body, event.source, name, parent, ts, seq)
            record = Record(
                seq, done.id, parent, done.kind, done.source, done.ts, done.call_id, raw
            )
            chain = link(chain, record)
            rows.append(Row(record, chain))
            placed.append(done)
            seqs[done.id] = seq
            state.apply(done, parent_seq)
        return Batch(placed, rows, state)

    def _prepare_copy(self, records: Sequence[Record]) -> Batch:
        if self._state.seq:
            raise self._taken()  # by another process, since we looked
        state, chain = State(), EMPTY_CHAIN
        events: list[Event] = []
        rows: list[Row] = []
        seqs: dict[str | None, int] = {None: 0}
        for record in records:
            if record.parent not in seqs:
                raise UnknownParentError(f"event '{record.id}' follows on none of those before it")
            chain = link(chain, record)
            rows.append(Row(record, chain))
            events.append(decode_record(record))
            seqs[record.id] = record.seq
            state.apply(events[-1], seqs[record.parent])
        return Batch(events, rows, state)


def calls_in(rows: Sequence[Row]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Return (call id, seq) of the intents and of the results among rows."""
    intents = [(r.call_id, r.seq) for r, _ in rows if r.kind == Intent.kind]
    results = [(r.call_id, r.seq) for r, _ in rows if r.kind == Result.kind]
    return intents, results


def duplicate(conversation_id: str, what: str) -> DuplicateEventError:
    """Build the error for something that may be in a log once only."""
    return DuplicateEventError(
        f"{what} is in conversation '{conversation_id}' already; nothing was appended"
    )


def first_break(rows: Iterable[Row], chain: bytes = EMPTY_CHAIN, seq: int = 0) -> Damage | None:
    """Return where rows stop being what was written, given what came before them."""
    for row in rows:
        if row.record.seq != seq + 1:
            return Damage(seq, f"event {seq + 1} is missing")
        chain = link(chain, row.record)
        if chain != row.chain:
            return Damage(seq, f"event {seq + 1} is not as it was written")
        seq += 1
    return None


class Reduced(NamedTuple):
    """What rows add up to, as far as they are intact."""

    state: State
    chain: bytes
    why: str
    """Why not further; empty: all are intact."""


def reduced(rows: Iterable[Row]) -> Reduced:
    """Reduce the rows of a log anew, each checked against those before it."""
    state, chain = State(), EMPTY_CHAIN
    seqs: dict[str | None, int] = {None: 0}
    try:
        for row in rows:
            if broken := first_break([row], chain, state.seq):
                return Reduced(state, chain, broken.why)
            event = decode_record(row.record)
            state.apply(event, seqs.get(event.parent, 0))
            chain = row.chain
            seqs[event.id] = event.seq
    except (sqlite3.DatabaseError, LogError, TypeError, ValueError) as error:
        return Reduced(state, chain, str(error))
    return Reduced(state, chain, "")


def state_difference(raw: bytes, state: State) -> str:
    """Return how a stored state differs from what the events add up to; empty: it does not.

    One that was reduced by the rules of another program is no difference: it is made anew.
    """
    if not State.is_present(raw) or not (names := state.differences(State.from_json(raw))):
        return ""
    return f"the state is not what the events add up to: {', '.join(names)}"

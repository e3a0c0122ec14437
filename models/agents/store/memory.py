"""Conversations that live as long as the process: for one-shots and tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future

from models.agents.errors import LogError, NoConversationError
from models.agents.events.codec import Record, decode_record
from models.agents.events.types import Event
from models.agents.state import Span
from models.agents.store.base import Damage, Durability, Log, Summary, check_id
from models.agents.store.log import BaseLog, Batch, Row, calls_in, duplicate, first_break
from models.agents.store.summary import summary_of


class MemoryLog(BaseLog):
    """A log in a list."""

    durability: Durability = "relaxed"

    def __init__(self, conversation_id: str) -> None:
        super().__init__(conversation_id)
        self._rows: list[Row] = []
        self._ids: dict[str, int] = {}
        self._intents: dict[str, int] = {}
        self._results: dict[str, int] = {}

    def _seq_of(self, event_id: str) -> int | None:
        return self._ids.get(event_id)

    def _append(self, prepare: Callable[[], Batch]) -> tuple[list[Event], Batch]:
        batch = prepare()
        for row in batch.rows:
            if row.record.id in self._ids:
                raise duplicate(self._id, f"event '{row.record.id}'")
        intents, results = calls_in(batch.rows)
        for call_id, _ in intents:
            if call_id in self._intents:
                raise duplicate(self._id, f"call '{call_id}'")
        known = {**self._intents, **dict(intents)}
        seen = set(self._results)
        for call_id, _ in results:
            if call_id not in known:
                raise LogError(f"a result of call '{call_id}', which nobody asked for")
            if call_id in seen:
                raise duplicate(self._id, f"a result of call '{call_id}'")
            seen.add(call_id)
        self._rows.extend(batch.rows)
        self._ids.update((row.record.id, row.record.seq) for row in batch.rows)
        self._intents.update(intents)
        self._results.update(results)
        return [], batch

    def records(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Record]:
        """Read stored events in order, all branches."""
        wanted = {*kinds}
        rows = (row.record for row in self._rows[after:])
        found = [record for record in rows if not wanted or record.kind in wanted]
        return found if limit is None else found[:limit]

    def spans(self, spans: Sequence[Span], kinds: Iterable[str] = ()) -> list[Event]:
        """Read the events within spans of sequence numbers, in order."""
        wanted = {*kinds}
        return [
            decode_record(row.record)
            for first, last in spans
            for row in self._rows[first - 1 : last]
            if not wanted or row.record.kind in wanted
        ]

    def result_of(self, call_id: str) -> Event | None:
        """Return the result of a call."""
        seq = self._results.get(call_id)
        return None if seq is None else decode_record(self._rows[seq - 1].record)

    def has_call(self, call_id: str) -> bool:
        """Whether a call of this id was ever asked for."""
        return call_id in self._intents

    def flushing(self) -> Future[None] | None:
        """Nothing is on a disk."""
        return None

    def flush(self) -> None:
        """Nothing is on a disk."""

    def acquire(self, *, take_over: bool = False) -> None:
        """Nobody else can have it."""

    def release(self) -> None:
        """Nobody else can want it."""

    def verify(self) -> Damage | None:
        """Check all records against their hash chain."""
        return first_break(self._rows)

    def repair(self) -> int:
        """Memory does not tear: everything is left."""
        return self._state.seq

    def close(self) -> None:
        """The store keeps the log."""


class MemoryStore:
    """Keeps logs in memory."""

    def __init__(self) -> None:
        self._logs: dict[str, MemoryLog] = {}

    def open(self, conversation_id: str) -> Log:
        """Open a conversation's log; an id that is new begins an empty one."""
        return self._logs.setdefault(check_id(conversation_id), MemoryLog(conversation_id))

    def exists(self, conversation_id: str) -> bool:
        """Whether there is such a conversation."""
        return conversation_id in self._logs

    def list(self) -> Sequence[Summary]:
        """Return all conversations, last changed first."""
        rows = [summary_of(log.id, log.state) for log in self._logs.values()]
        return sorted(rows, key=lambda row: row.updated, reverse=True)

    def delete(self, conversation_id: str) -> None:
        """Remove a conversation for ever.

        Raises:
            NoConversationError: There is none.
        """
        if self._logs.pop(conversation_id, None) is None:
            raise NoConversationError(f"no conversation '{conversation_id}' in memory")

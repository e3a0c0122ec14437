"""Opening and reading the file of a conversation."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from models.agents.errors import LogError
from models.agents.events.codec import Record, decode_record
from models.agents.events.types import Event
from models.agents.state import Span, State
from models.agents.store.base import Damage, Durability
from models.agents.store.failures import explained
from models.agents.store.lease import Owner
from models.agents.store.log import EMPTY_CHAIN, BaseLog, Row, first_break, reduced
from models.agents.store.making import check_tables, check_whole, make_file
from models.agents.store.schema import FORMAT, RECORD, STORED
from models.agents.store.seal import Seal, check_key
from models.agents.store.tables import connect, has_wal, of_kinds

TAIL = 4
"""Records whose hashes are checked at each opening; `verify` checks all."""


class SqliteRows(BaseLog):
    """A log in a file, as far as it is read.

    Args:
        path: The file; made when it is not there.
        conversation_id: What it must hold.
        durability: See `Durability`.
        seal: Encrypts bodies and state.
    """

    def __init__(
        self, path: Path, conversation_id: str, durability: Durability, seal: Seal | None = None
    ) -> None:
        super().__init__(conversation_id)
        self.path = path
        self._seal = seal
        self.durability: Durability = durability
        self._generation: int | None = None
        self._owner: Owner | None = None
        self._unsynced = False
        self._sync: Future[None] | None = None
        """The last one that was begun."""
        self._syncing = threading.Lock()
        self._data_version = -1
        with explained(path):
            if not path.exists():
                make_file(path, conversation_id, seal)
            check_whole(path)
            self._db = connect(path, durability)
            check_tables(self._db, path)
            if not has_wal(self._db):
                self.durability = "strict"
            found = self._db.execute("SELECT format, id FROM meta").fetchone()
            state = self._db.execute("SELECT json FROM state").fetchone()
        if state is not None and isinstance(state[0], bytes):
            check_key(seal, state[0], str(path))
        if found is None or found[0] > FORMAT:
            raise LogError(
                f"{path} has format {found and found[0]}, this program reads up to {FORMAT}; open "
                "it with the newer program"
            )
        self._load()

    # ---- opening

    def _load(self) -> None:
        """Read the state and the tail; nothing else, however long the log is."""
        with explained(self.path), self._snapshot():
            self._load_snapshot()

    @contextlib.contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Read one moment of the file, whatever other processes append meanwhile."""
        with self._lock:
            self._db.execute("BEGIN")
            try:
                yield
            finally:
                self._db.execute("ROLLBACK")

    def _load_snapshot(self) -> None:
        try:
            seq, kept = self._db.execute("SELECT seq, json FROM state").fetchone()
            raw = kept if self._seal is None else self._seal.open(kept)
            last = self._db.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
            self._data_version = self._db.execute("PRAGMA data_version").fetchone()[0]
            rows = self._rows("WHERE e.seq >= ? ORDER BY e.seq", (last - TAIL,))
            before, tail = (rows[0], rows[1:]) if last > TAIL else (None, rows)
            chain, start = (before.chain, before.record.seq) if before else (EMPTY_CHAIN, 0)
            self._damage = first_break(tail, chain, start)
            if self._damage is None and seq == last and not State.is_present(raw):
                if why := self._replay():
                    self._damage = Damage(self._state.seq, why)
                return
            if self._damage is None and seq == last:
                self._state = State.from_json(raw)
                self._chain = tail[-1].chain if tail else chain
                return
            if self._damage is None:
                self._damage = Damage(min(seq, last), f"the state is of event {seq}, not {last}")
        except (sqlite3.DatabaseError, LogError, TypeError, ValueError, LookupError) as error:
            if str(getattr(error, "sqlite_errorname", "")).startswith("SQLITE_BUSY"):
                raise
            self._damage = Damage(0, str(error))
        self._find_intact()

    def _find_intact(self) -> None:
        """Find out how far the records of a damaged log can be trusted."""
        assert self._damage is not None
        why, self._damage = self._damage.why, None
        why = self._replay() or why
        self._damage = Damage(self._state.seq, why)

    def _replay(self) -> str:
        """Reduce the log anew, as far as its records are intact; returns why not further."""
        self._state, self._chain, why = reduced(self.rows(at_once=1))
        return why

    # ---- reading

    def _rows(self, where: str, values: Sequence[object]) -> list[Row]:
        with self._lock:
            query = f"SELECT {RECORD}, e.chain FROM {STORED} {where}"
            found = self._db.execute(query, values).fetchall()
        chains = [row[8] for row in found]
        if self._seal is not None:
            chains = [self._seal.open(chain) for chain in chains]
        return list(map(Row, self._opened(row[:8] for row in found), chains))

    def _records(self, where: str, values: Sequence[object]) -> list[Record]:
        """Read records without their hashes: most readers need none."""
        with self._lock:
            found = self._db.execute(f"SELECT {RECORD} FROM {STORED} {where}", values).fetchall()
        return self._opened(found)

    def _opened(self, rows: Iterable[Sequence[Any]]) -> list[Record]:
        records = list(map(Record._make, rows))
        if (seal := self._seal) is None:
            return records
        return [record._replace(body=seal.open(record.body)) for record in records]

    def _shut(self, plain: bytes) -> bytes:
        return plain if self._seal is None else self._seal.shut(plain)

    def rows(self, at_once: int = 500) -> Iterator[Row]:
        """Read all rows with their hashes, a few at a time."""
        last = 0
        while rows := self._rows("WHERE e.seq > ? ORDER BY e.seq LIMIT ?", (last, at_once)):
            yield from rows
            last = rows[-1].record.seq

    def records(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Record]:
        """Read stored events in order, all branches; of a damaged log the intact ones."""
        condition, wanted = of_kinds(kinds)
        last = self._damage.intact_seq if self._damage else 2**62
        with explained(self.path):
            return self._records(
                f"WHERE e.seq > ? AND e.seq <= ?{condition} ORDER BY e.seq LIMIT ?",
                (after, last, *wanted, -1 if limit is None else limit),
            )

    def spans(self, spans: Sequence[Span], kinds: Iterable[str] = ()) -> list[Event]:
        """Read the events within spans of sequence numbers, in order."""
        condition, wanted = of_kinds(kinds)
        events: list[Event] = []
        with explained(self.path):
            for first, last in spans:
                where = f"WHERE e.seq BETWEEN ? AND ?{condition} ORDER BY e.seq"
                events += map(decode_record, self._records(where, (first, last, *wanted)))
        return events

    def result_of(self, call_id: str) -> Event | None:
        """Return the result of a call."""
        where = "JOIN result r ON r.seq = e.seq WHERE r.call_id = ?"
        with explained(self.path):
            found = self._records(where, (call_id,))
        return decode_record(found[0]) if found else None

    def has_call(self, call_id: str) -> bool:
        """Whether a call of this id was ever asked for."""
        with self._lock, explained(self.path):
            query = "SELECT 1 FROM intent WHERE call_id = ?"
            return self._db.execute(query, (call_id,)).fetchone() is not None

    def _seq_of(self, event_id: str) -> int | None:
        found = self._db.execute("SELECT seq FROM event WHERE id = ?", (event_id,)).fetchone()
        return found[0] if found else None

    # ---- transactions

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

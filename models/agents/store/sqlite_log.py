"""The log of one conversation in an SQLite file: write-ahead log, one transaction per commit."""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from models.agents.errors import CorruptLogError, LeaseHeldError, LogError, StaleOwnerError
from models.agents.events.codec import Record, decode_record
from models.agents.events.types import Event
from models.agents.state import Span, State
from models.agents.store import group
from models.agents.store.base import Damage, Durability
from models.agents.store.failures import explained
from models.agents.store.lease import Owner
from models.agents.store.log import EMPTY_CHAIN, BaseLog, Batch, Row, first_break
from models.agents.store.salvage import rewrite
from models.agents.store.schema import FORMAT, READ, TABLES
from models.agents.store.tables import connect, has_wal, of_kinds, set_synchronous, write_rows

TAIL = 4
"""Records whose hashes are checked at each opening; `verify` checks all."""


class SqliteLog(BaseLog):
    """A log in a file.

    Args:
        path: The file; made when it is not there.
        conversation_id: What it must hold.
        durability: See `Durability`.
    """

    def __init__(self, path: Path, conversation_id: str, durability: Durability) -> None:
        super().__init__(conversation_id)
        self.path = path
        self.durability: Durability = durability
        self._generation: int | None = None
        self._owner: Owner | None = None
        self._unsynced = False
        self._data_version = -1
        is_new = not path.exists()
        with explained(path):
            self._db = connect(path, durability)
            if not has_wal(self._db):
                self.durability = "strict"
            if is_new or not self._has_tables():
                self._create()
            found = self._db.execute("SELECT format, id FROM meta").fetchone()
        if found is None or found[0] > FORMAT:
            raise LogError(
                f"{path} has format {found and found[0]}, this program reads up to {FORMAT}; open "
                "it with the newer program"
            )
        self._load()

    # ---- opening

    def _has_tables(self) -> bool:
        found = self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone()
        return found is not None

    def _create(self) -> None:
        with self._transaction():
            if self._has_tables():
                return  # another process was faster
            for statement in filter(str.strip, TABLES.split(";")):
                self._db.execute(statement)
            self._db.execute("INSERT INTO meta VALUES (?, ?)", (FORMAT, self._id))
            first = State().to_json()
            self._db.execute("INSERT INTO state VALUES (1, 0, ?, 0, '', 0)", (first,))
        # The file's name is durable only with its folder.
        handle = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

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
            seq, raw = self._db.execute("SELECT seq, json FROM state").fetchone()
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
        except (sqlite3.DatabaseError, TypeError, ValueError, KeyError, IndexError) as error:
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
        self._state, self._chain = State(), EMPTY_CHAIN
        seqs: dict[str, int] = {}
        try:
            for row in self.rows(at_once=1):
                if broken := first_break([row], self._chain, self._state.seq):
                    return broken.why
                event = decode_record(row.record)
                parent_seq = seqs.get(event.parent, 0) if event.parent else 0
                self._state.apply(event, parent_seq)
                self._chain = row.chain
                seqs[event.id] = event.seq
        except (sqlite3.DatabaseError, LogError, TypeError) as error:
            return str(error)
        return ""

    # ---- reading

    def _rows(self, where: str, values: Sequence[object]) -> list[Row]:
        with self._lock:
            found = self._db.execute(f"{READ} {where}", values).fetchall()
        return [Row(Record(*row[:8]), row[8]) for row in found]

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
            rows = self._rows(
                f"WHERE e.seq > ? AND e.seq <= ?{condition} ORDER BY e.seq LIMIT ?",
                (after, last, *wanted, -1 if limit is None else limit),
            )
        return [row.record for row in rows]

    def spans(self, spans: Sequence[Span], kinds: Iterable[str] = ()) -> list[Event]:
        """Read the events within spans of sequence numbers, in order."""
        condition, wanted = of_kinds(kinds)
        events: list[Event] = []
        with explained(self.path):
            for first, last in spans:
                where = f"WHERE e.seq BETWEEN ? AND ?{condition} ORDER BY e.seq"
                rows = self._rows(where, (first, last, *wanted))
                events.extend(decode_record(row.record) for row in rows)
        return events

    def result_of(self, call_id: str) -> Event | None:
        """Return the result of a call."""
        where = "JOIN result r ON r.seq = e.seq WHERE r.call_id = ?"
        with explained(self.path):
            rows = self._rows(where, (call_id,))
        return decode_record(rows[0].record) if rows else None

    def has_call(self, call_id: str) -> bool:
        """Whether a call of this id was ever asked for."""
        with self._lock, explained(self.path):
            query = "SELECT 1 FROM intent WHERE call_id = ?"
            return self._db.execute(query, (call_id,)).fetchone() is not None

    def _seq_of(self, event_id: str) -> int | None:
        found = self._db.execute("SELECT seq FROM event WHERE id = ?", (event_id,)).fetchone()
        return found[0] if found else None

    # ---- writing

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

    def _append(self, prepare: Callable[[], Batch]) -> tuple[list[Event], Batch]:
        before = self._state, self._chain
        try:
            with self._transaction():
                foreign = self._catch_up()
                batch = prepare()
                if batch.rows:
                    self._insert(batch)
        except BaseException:
            # What others appended stays in the file and is taken in by the next commit.
            self._state, self._chain = before
            raise
        self._unsynced = True
        return foreign, batch

    def _catch_up(self) -> list[Event]:
        """Inside a transaction: check the lease, and take in what others appended."""
        seq, generation = self._db.execute("SELECT seq, generation FROM state").fetchone()
        if self._generation is not None and generation != self._generation:
            raise StaleOwnerError(
                f"conversation '{self._id}' was taken over by another process; this one may not "
                "append any more: open it again"
            )
        return self._take_in() if seq != self._state.seq else []

    def _take_in(self) -> list[Event]:
        rows = self._rows("WHERE e.seq > ? ORDER BY e.seq", (self._state.seq,))
        state, events = self._state.copy(), []
        for row in rows:
            event = decode_record(row.record)
            parent = state.seq if event.parent == state.head else self._seq_of(event.parent or "")
            state.apply(event, parent or 0)
            events.append(event)
        self._state = state
        if rows:
            self._chain = rows[-1].chain
        return events

    def refresh(self) -> list[Event]:
        """Take in what other processes appended since, and return it."""
        with self._lock, explained(self.path):
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._data_version or self._damage is not None:
                return []
            self._data_version = version
            events = self._take_in()
            if events:
                self._tell(events)
        return events

    def _insert(self, batch: Batch) -> None:
        write_rows(self._db, batch.rows)
        self._db.execute(
            "UPDATE state SET seq = ?, json = ?, renewed = ?",
            (batch.state.seq, batch.state.to_json(), time.time()),
        )

    def flushing(self) -> Future[None] | None:
        """Begin to make durable what was committed; None: it is, as far as was promised."""
        if self.durability != "group" or not self._unsynced:
            return None
        self._unsynced = False
        return group.SHARED.sync(Path(f"{self.path}-wal"))

    def flush(self) -> None:
        """Wait until everything that was committed is as durable as was promised."""
        if (future := self.flushing()) is not None:
            future.result()

    # ---- the right to run

    def acquire(self, *, take_over: bool = False) -> None:
        """Become the one that runs the conversation; see `Log.acquire`."""
        if self._generation is not None:
            return
        owner = Owner.here()
        with self._unsynchronised(), self._transaction():
            generation, held, renewed = self._db.execute(
                "SELECT generation, owner, renewed FROM state"
            ).fetchone()
            if held and not take_over and (other := Owner.from_json(held)).is_alive(renewed):
                raise LeaseHeldError(
                    f"conversation '{self._id}' is run by process {other.pid} on "
                    f"{other.host.partition('/')[0]}; wait for it, stop it, or take over"
                )
            self._db.execute(
                "UPDATE state SET generation = ?, owner = ?, renewed = ?",
                (generation + 1, owner.to_json(), time.time()),
            )
        self._generation, self._owner = generation + 1, owner
        self.refresh()

    def release(self) -> None:
        """Let others run it; no more than nothing when it is not ours."""
        generation, self._generation, self._owner = self._generation, None, None
        if generation is not None:
            with self._unsynchronised(), self._transaction():
                self._db.execute("UPDATE state SET owner = '' WHERE generation = ?", (generation,))

    @contextlib.contextmanager
    def _unsynchronised(self) -> Iterator[None]:
        """A lease need not survive a power cut: its owner does not either."""
        with self._lock:
            self._db.execute("PRAGMA synchronous = OFF")
            try:
                yield
            finally:
                set_synchronous(self._db, self.durability)

    # ---- damage

    def verify(self) -> Damage | None:
        """Check all records against their hash chain."""
        last = 0

        def counted() -> Iterator[Row]:
            nonlocal last
            for row in self.rows():
                yield row
                last = row.record.seq

        try:
            with self._snapshot():
                found = first_break(counted())
                stated = self._db.execute("SELECT seq FROM state").fetchone()[0]
        except sqlite3.DatabaseError as error:
            return Damage(last, str(error))
        if found is None and stated != last:
            found = Damage(last, f"the state is of event {stated}, not {last}")
        return found

    def repair(self) -> int:
        """Write what can be trusted to a new file; the old one is kept beside it.

        Returns:
            The last sequence number that is left.
        """
        self._damage = self._damage or self.verify()
        if self._damage is None:
            return self._state.seq
        self._find_intact()
        # Not one row more: reading the next one may fail.
        intact = list(itertools.islice(self.rows(at_once=1), self._state.seq))
        self._db.close()
        rewrite(self.path, self._id, intact, self._state)
        self._db = connect(self.path, self.durability)
        self._damage = None
        self._load()
        return self._state.seq

    def close(self) -> None:
        """Give the lease back and close the file."""
        with self._lock, contextlib.suppress(sqlite3.Error, CorruptLogError, LogError):
            self.flush()
            self.release()
        self._db.close()

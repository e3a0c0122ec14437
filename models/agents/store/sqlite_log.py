"""The log of one conversation in an SQLite file: write-ahead log, one transaction per commit."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

from models.agents.errors import CorruptLogError, LeaseHeldError, LogError, StaleOwnerError
from models.agents.events.codec import decode_record
from models.agents.events.types import Event
from models.agents.state import State
from models.agents.store import group
from models.agents.store.base import Damage
from models.agents.store.checking import Checked, check_file
from models.agents.store.failures import explained
from models.agents.store.lease import Owner
from models.agents.store.log import Batch, reduced, state_difference
from models.agents.store.salvage import rewrite
from models.agents.store.sqlite_rows import SqliteRows
from models.agents.store.tables import connect, set_synchronous, write_rows


class SqliteLog(SqliteRows):
    """A log in a file; see `SqliteRows` for what it is made from."""

    # ---- writing

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
        write_rows(self._db, batch.rows, self._seal)
        self._db.execute(
            "UPDATE state SET seq = ?, json = ?, renewed = ?",
            (batch.state.seq, self._shut(batch.state.to_json()), time.time()),
        )

    def flushing(self) -> Future[None] | None:
        """Begin to make durable what was committed; None: it is, as far as was promised."""
        with self._syncing:
            if self.durability == "group" and self._unsynced:
                self._unsynced = False
                self._sync = group.SHARED.sync(self._wal)
            # One that somebody else began is not over for us before it is over.
            is_over = self._sync is None or (self._sync.done() and not self._sync.exception())
            return None if is_over else self._sync

    def flush(self) -> None:
        """Wait until everything that was committed is as durable as was promised."""
        with self._syncing:
            is_ours = self.durability == "group" and self._unsynced
            if is_ours:
                self._unsynced = False
                self._sync = group.begun()
            sync = self._sync
        if sync is None:
            return
        if is_ours:
            # Here: handing it to a thread and waiting for that costs as much CPU as a commit.
            group.SHARED.sync_here(self._wal, [sync])
        sync.result()

    @property
    def _wal(self) -> Path:
        return Path(f"{self.path}-wal")

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
                    f"{other.host.partition('/')[0]}; wait for it, or stop it there (Ctrl-C, or "
                    f"`kill {other.pid}`)"
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
        """Check all records against their hash chain, and the state against the records."""
        with self._snapshot():
            state, _, why = reduced(self.rows())
            why = why or self._wrong_state(state)
        return Damage(state.seq, why) if why else None

    def _wrong_state(self, state: State) -> str:
        try:
            stated, kept = self._db.execute("SELECT seq, json FROM state").fetchone()
            raw = kept if self._seal is None else self._seal.open(kept)
            if stated != state.seq:
                return f"the state is of event {stated}, not {state.seq}"
            return state_difference(raw, state)
        except (sqlite3.DatabaseError, LogError, TypeError, ValueError, LookupError) as error:
            return f"the state cannot be read ({error})"

    def check(self) -> Checked:
        """Find everything that is wrong; `verify` finds the first."""
        with self._snapshot():
            return check_file(self._db, self._seal)

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
        with self._lock:
            self._db.close()
            rewrite(self.path, self._id, intact, self._state, self._seal)
            self._db = connect(self.path, self.durability)
            self._damage = None
            self._load()
            return self._state.seq

    def close(self) -> None:
        """Give the lease back and close the file."""
        # A thread that reads while another one closes ends the process, not the call.
        with self._lock:
            try:
                with contextlib.suppress(sqlite3.Error, CorruptLogError, LogError):
                    self.flush()
                    self.release()
            finally:
                self._db.close()

"""All that is wrong with a log and where; opening it and `verify` stop at the first break."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from models.agents.errors import LogError
from models.agents.events.codec import Record, decode_record
from models.agents.events.types import Intent, Result
from models.agents.state import State
from models.agents.store.jsonl import parse_line
from models.agents.store.log import EMPTY_CHAIN, link, state_difference
from models.agents.store.schema import RECORD, STORED
from models.agents.store.seal import Seal
from models.agents.store.tables import BLOB_BYTES


class Finding(NamedTuple):
    """One thing that is wrong."""

    seq: int
    """Of the event; 0: it is about the file, whose events may all be sound."""
    what: str


class Read(NamedTuple):
    """A record that could be read, whether or not it is as it was written."""

    seq: int
    kind: str
    call_id: str


class Checked(NamedTuple):
    """What a log holds and what is wrong with it."""

    read: tuple[Read, ...]
    """All records that could be read, in order."""
    body_bytes: int
    """Length of all bodies."""
    largest: tuple[int, int]
    """Sequence number and bytes of the longest body; zeros: there is none."""
    findings: tuple[Finding, ...]

    @property
    def intact_seq(self) -> int:
        """The last event that it and all before it are sound."""
        last = self.read[-1].seq if self.read else 0
        return min([last, *(finding.seq - 1 for finding in self.findings if finding.seq)])


class _Checker:
    """Takes the records of a log in order and notes what does not fit."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.read: list[Read] = []
        self.state = State()
        """Of the sound records from the first on."""
        self.last = 0
        """The last record's sequence number, whether or not it could be read."""
        self._has_gap = False
        """Whether a record before is missing: what others say of it cannot be judged."""
        self._chain: bytes | None = EMPTY_CHAIN
        self._seqs: dict[str | None, int] = {None: 0}
        self.intents: dict[str, int] = {}
        self.results: dict[str, int] = {}
        self._bytes = 0
        self._largest = (0, 0)

    @property
    def events_are_sound(self) -> bool:
        """Whether all that was found so far is wrong with the file only."""
        return not any(finding.seq for finding in self.findings)

    def add(self, seq: int, what: str) -> None:
        """Note something."""
        self.findings.append(Finding(seq, what))

    def skip(self, seq: int, why: str) -> None:
        """Note a record that cannot be read."""
        self._move(seq)
        self.add(seq, f"cannot be read ({why})")
        self._chain, self._has_gap = None, True

    def _move(self, seq: int) -> None:
        """Come to the next record; one that is not the next says that others are gone."""
        if seq != self.last + 1:
            many = f"is missing, with all up to event {seq - 1}"
            self.add(self.last + 1, "is missing" if seq == self.last + 2 else many)
            # What its hash was made over is gone.
            self._chain, self._has_gap = None, True
        self.last = seq

    def take(
        self, record: Record, chain: bytes, blob_name: tuple[bytes, bytes] | None = None
    ) -> None:
        """Check a record against those before it.

        Args:
            record: The next one that could be read.
            chain: The hash that is stored with it.
            blob_name: Of a long body: the name that it has and the one that it should have.
        """
        self._move(record.seq)
        before = len(self.findings)
        if self._chain is not None and link(self._chain, record) != chain:
            self.add(record.seq, "is not as it was written: its hash does not follow on the last")
        elif blob_name is not None and blob_name[0] != blob_name[1]:
            self.add(record.seq, "has a body that is kept under another body's name")
        # Each against the one before it as it is stored: the others after a change may be sound.
        self._chain = chain
        self._note(record)
        try:
            event = decode_record(record)
        except LogError as error:
            # What was changed may well be unreadable: one change is found once.
            if len(self.findings) == before:
                self.add(record.seq, str(error))
        else:
            if record.parent not in self._seqs and not self._has_gap:
                self.add(record.seq, f"follows on '{record.parent}', which is not before it")
            self._count_call(record)
            if self.events_are_sound:
                self.state.apply(event, self._seqs[record.parent])
        self._seqs[record.id] = record.seq

    def _note(self, record: Record) -> None:
        self.read.append(Read(record.seq, record.kind, record.call_id))
        self._bytes += len(record.body)
        if len(record.body) > self._largest[1]:
            self._largest = record.seq, len(record.body)

    def _count_call(self, record: Record) -> None:
        name, seq = record.call_id, record.seq
        if record.kind == Intent.kind:
            if name in self.intents:
                self.add(seq, f"asks for call '{name}' again, after event {self.intents[name]}")
            self.intents[name] = seq
        elif record.kind == Result.kind:
            if name in self.results:
                self.add(seq, f"is a second result of call '{name}', after {self.results[name]}")
            elif name not in self.intents and not self._has_gap:
                self.add(seq, f"is the result of call '{name}', which nobody asked for")
            self.results[name] = seq

    def checked(self) -> Checked:
        """Return all that was found, by place."""
        found = sorted(self.findings, key=lambda finding: finding.seq)
        return Checked(tuple(self.read), self._bytes, self._largest, tuple(found))


def check_lines(lines: Iterable[bytes]) -> Checked:
    """Check the lines of an export behind its first, which names the conversation."""
    checker = _Checker()
    for line in lines:
        try:
            record, stated = parse_line(line)
            chain = bytes.fromhex(stated)
            if record.seq <= checker.last:
                raise ValueError(f"says that it is event {record.seq}")
        except ValueError as error:
            checker.skip(checker.last + 1, f"line {checker.last + 2} {error}")
        else:
            checker.take(record, chain)
    return checker.checked()


def check_file(db: sqlite3.Connection, seal: Seal | None) -> Checked:
    """Check a conversation's file: pages, records, lengths, tables of calls, state.

    Args:
        db: The file, in a transaction.
        seal: What it is encrypted with.
    """
    checker = _Checker()
    for line in _pages(db):
        checker.add(0, line)
    try:
        for row in _rows(db):
            try:
                _take_row(checker, row, seal)
            except (LogError, TypeError, ValueError) as error:
                checker.skip(row[0], str(error))
    except sqlite3.DatabaseError as error:
        checker.add(checker.last + 1, f"cannot be read, nor what comes after it ({error})")
        return checker.checked()
    try:
        _check_state(checker, db, seal)
        if checker.events_are_sound:
            _check_calls(checker, db)
    except (sqlite3.DatabaseError, LogError, TypeError, ValueError, LookupError) as error:
        checker.add(0, f"the tables of calls or the state cannot be read ({error})")
    return checker.checked()


def _pages(db: sqlite3.Connection) -> Iterator[str]:
    try:
        found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(20)")]
    except sqlite3.DatabaseError as error:
        found = [str(error)]
    yield from (line for line in found if line != "ok")


def _rows(db: sqlite3.Connection) -> Iterator[tuple[Any, ...]]:
    # One at a time: a page that cannot be read hides none of those before it.
    query = f"SELECT {RECORD}, e.chain, e.blob, e.body IS NULL FROM {STORED}"
    last = 0
    while row := db.execute(f"{query} WHERE e.seq > ? ORDER BY e.seq LIMIT 1", (last,)).fetchone():
        yield row
        last = row[0]


def _take_row(checker: _Checker, row: tuple[Any, ...], seal: Seal | None) -> None:
    *values, body, chain, name, is_long = row
    if not isinstance(body, bytes) or not isinstance(chain, bytes):
        raise ValueError("its body or hash is gone")
    if seal is not None:
        body, chain = seal.open(body), seal.open(chain)
    blob_name = None
    if is_long:
        blob_name = name, hashlib.sha256(body).digest() if seal is None else seal.name(body)
    before = len(checker.findings)
    checker.take(Record._make([*values, body]), chain, blob_name)
    if len(checker.findings) == before and (len(body) > BLOB_BYTES) != bool(is_long):
        place = "beside its row" if is_long else "in its row"
        checker.add(
            row[0],
            f"has a body of {len(body):,} bytes {place}; those above {BLOB_BYTES:,} bytes, and no "
            "others, belong beside it",
        )


def _check_calls(checker: _Checker, db: sqlite3.Connection) -> None:
    # These tables refuse a second result, so they must know of each one.
    for table, known in (("intent", checker.intents), ("result", checker.results)):
        kept = dict(db.execute(f"SELECT call_id, seq FROM {table}").fetchall())
        for name in sorted({name for name, _ in kept.items() ^ known.items()}):
            checker.add(
                0,
                f"call '{name}': the table of {table}s says event {kept.get(name)}, the events "
                f"say {known.get(name)}",
            )


def _check_state(checker: _Checker, db: sqlite3.Connection, seal: Seal | None) -> None:
    seq, kept = db.execute("SELECT seq, json FROM state").fetchone()
    if seq > checker.last:
        checker.add(checker.last + 1, f"is missing: the state is of event {seq}")
    elif seq < checker.last:
        checker.add(0, f"the state is of event {seq}, and the last event is {checker.last}")
    if checker.findings:
        return
    raw = kept if seal is None else seal.open(kept)
    if why := state_difference(raw, checker.state):
        checker.add(0, why)

"""Opening a conversation's file, and putting rows into its tables."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from models.agents.events.types import Intent, Result
from models.agents.store.base import Durability
from models.agents.store.log import Row, calls_in
from models.agents.store.seal import Seal

BLOB_BYTES = 8_192
"""Longer bodies go to a table by their hash, so that equal outputs are kept once."""

BUSY_S = 60.0
"""How long a commit waits for another process' commit."""

_WAL_PAGES = 4_000
"""Of 4 kB, between two checkpoints."""


def connect(path: Path, durability: Durability) -> sqlite3.Connection:
    """Open a file as we use it; where write-ahead logs are refused, a plain journal serves."""
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    db.execute("PRAGMA foreign_keys = ON")
    # Pages that change at each commit are copied once per checkpoint: rarer is cheaper.
    db.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {4096 * _WAL_PAGES}")
    # Without a write-ahead log (a file system that has no shared memory) only strict is safe.
    set_synchronous(db, durability if mode == "wal" else "strict")
    return db


def has_wal(db: sqlite3.Connection) -> bool:
    """Whether a file has a write-ahead log."""
    return bool(db.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def set_synchronous(db: sqlite3.Connection, durability: Durability) -> None:
    """Make commits wait for the disk, or not."""
    db.execute(f"PRAGMA synchronous = {'FULL' if durability == 'strict' else 'NORMAL'}")


def write_rows(db: sqlite3.Connection, rows: Sequence[Row], seal: Seal | None) -> None:
    """Insert rows with their blobs, intents and results."""
    values = []
    for record, chain in rows:
        body: bytes | None = record.body
        digest: bytes | None = None
        if len(record.body) > BLOB_BYTES:
            digest, body = _blob(db, record.body, seal), None
        if seal is not None:
            body = None if body is None else seal.shut(body)
            chain = seal.shut(chain)
        values.append((*record[:7], body, digest, chain))
    db.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)
    intents, results = calls_in(rows)
    for table, calls in ((Intent.kind, intents), (Result.kind, results)):
        if calls:
            db.executemany(f"INSERT INTO {table} VALUES (?, ?)", calls)


def _blob(db: sqlite3.Connection, data: bytes, seal: Seal | None) -> bytes:
    name = hashlib.sha256(data).digest() if seal is None else seal.name(data)
    found = db.execute("SELECT 1 FROM blob WHERE hash = ?", (name,)).fetchone()
    if found is None:
        kept = data if seal is None else seal.shut(data)
        db.execute("INSERT INTO blob VALUES (?, ?)", (name, kept))
    return name


def of_kinds(kinds: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Return the condition that lets only some kinds through, and its values."""
    wanted = tuple(kinds)
    return (f" AND e.kind IN ({', '.join('?' * len(wanted))})" if wanted else "", wanted)

"""The tables of a ledger, how its file is opened, and what SQLite's errors mean."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from models.errors import (
    ConfigError,
    DatasetMissingError,
    DatasetUnreadableError,
    ServiceError,
    StorageFullError,
)

SCHEMA_VERSION = 1
"""Raised when a table changes; a ledger of another version is not read."""
BUSY_S = 60.0
"""How long a writer waits for another one, in seconds: a commit takes milliseconds."""

TABLES = """
CREATE TABLE source (
    sha TEXT PRIMARY KEY,          -- of text
    text BLOB NOT NULL             -- UTF-8, lone surrogates as they are
) WITHOUT ROWID;
CREATE TABLE candidate (
    sha TEXT NOT NULL REFERENCES source,
    op_id TEXT NOT NULL,
    session_id TEXT NOT NULL,      -- empty: none
    call_no INTEGER NOT NULL,
    mode TEXT NOT NULL,
    depends_on TEXT NOT NULL,      -- JSON: operators
    proposer TEXT NOT NULL,
    parent_sha TEXT,
    policy TEXT NOT NULL,
    PRIMARY KEY (op_id, sha, session_id, call_no)
) WITHOUT ROWID;
CREATE TABLE session (
    session_id TEXT PRIMARY KEY,
    run TEXT NOT NULL,             -- campaign
    op_id TEXT NOT NULL,
    profile TEXT NOT NULL,
    proposer TEXT NOT NULL,
    config TEXT NOT NULL,          -- JSON
    started_at REAL NOT NULL,      -- seconds since 1970
    ended_at REAL,
    outcome TEXT,                  -- success, exhausted, infra_error; NULL: not ended
    reason TEXT NOT NULL DEFAULT '',
    best_sha TEXT,
    calls INTEGER NOT NULL DEFAULT 0,
    dialogs INTEGER NOT NULL DEFAULT 0,
    infra_errors INTEGER NOT NULL DEFAULT 0,
    cpu_s REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE lint (
    op_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    profile TEXT NOT NULL,
    mode TEXT NOT NULL,
    signature TEXT NOT NULL,       -- that it was judged by
    rules_version TEXT NOT NULL,
    passed INTEGER NOT NULL,
    report TEXT NOT NULL,          -- JSON
    PRIMARY KEY (op_id, sha, profile, mode, signature, rules_version)
) WITHOUT ROWID;
CREATE TABLE compile (
    op_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    target TEXT NOT NULL,
    kernel TEXT NOT NULL,
    result_id TEXT NOT NULL,       -- hash of what was compiled
    ok INTEGER NOT NULL,
    error_class TEXT,
    elapsed_s REAL NOT NULL,
    result TEXT NOT NULL,          -- JSON
    PRIMARY KEY (op_id, sha, target, kernel, result_id)
) WITHOUT ROWID;
CREATE TABLE batch (
    batch_id TEXT PRIMARY KEY,     -- hash of key
    op_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    suite TEXT NOT NULL,
    key TEXT NOT NULL,             -- JSON
    facts TEXT NOT NULL,           -- JSON: launches, bytes, memory, walls
    cpu_s REAL NOT NULL,
    finished_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE outcome (
    batch_id TEXT NOT NULL REFERENCES batch,
    position INTEGER NOT NULL,
    sample_id TEXT NOT NULL,
    dtype TEXT NOT NULL,
    key TEXT NOT NULL,             -- structure key
    status TEXT NOT NULL,
    backing TEXT,
    oracle TEXT,
    message TEXT NOT NULL,
    launches INTEGER NOT NULL,
    cpu_s REAL NOT NULL,
    more TEXT NOT NULL,            -- JSON: the other fields of an outcome
    PRIMARY KEY (batch_id, position)
) WITHOUT ROWID;
CREATE TABLE evaluation (
    evaluation_id TEXT PRIMARY KEY,
    run TEXT NOT NULL,
    op_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    mode TEXT NOT NULL,
    profile TEXT NOT NULL,
    suite TEXT NOT NULL,
    seed INTEGER NOT NULL,
    most_per_dtype INTEGER,        -- NULL: no cut, as published figures need
    samples INTEGER NOT NULL,      -- skipped ones included
    versions TEXT NOT NULL,        -- JSON
    started_at REAL NOT NULL,
    finished_at REAL               -- NULL: it counts for nothing
) WITHOUT ROWID;
CREATE TABLE evaluation_batch (
    evaluation_id TEXT NOT NULL REFERENCES evaluation,
    position INTEGER NOT NULL,
    batch_id TEXT NOT NULL REFERENCES batch,
    PRIMARY KEY (evaluation_id, position)
) WITHOUT ROWID;
CREATE TABLE audit (
    op_id TEXT NOT NULL,
    sha TEXT NOT NULL,
    profile TEXT NOT NULL,
    audit_id TEXT NOT NULL,        -- hash of the report
    ok INTEGER NOT NULL,
    report TEXT NOT NULL,          -- JSON
    finished_at REAL NOT NULL,
    PRIMARY KEY (op_id, sha, profile, audit_id)
) WITHOUT ROWID;
CREATE INDEX evaluation_by_op ON evaluation (suite, profile, op_id);
CREATE INDEX candidate_by_sha ON candidate (sha);
"""


class LedgerError(ServiceError):
    """A ledger's file cannot be read or written now."""


def connect(path: Path) -> sqlite3.Connection:
    """Open a ledger, make its tables if it is new.

    Raises:
        DatasetMissingError: Its folder does not exist.
        DatasetUnreadableError: The file is damaged or no ledger.
        ConfigError: It was written by another version of this room.
        LedgerError: It is locked or read-only.
    """
    if not path.parent.is_dir():
        raise DatasetMissingError(
            f"no folder {path.parent} for a ledger; make it, or give another path"
        )
    with explained(path):
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # A commit survives the end of the process; only a power cut can take the last ones.
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.row_factory = sqlite3.Row
            _make(db, path)
        except BaseException:
            db.close()
            raise
    return db


def _make(db: sqlite3.Connection, path: Path) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version == SCHEMA_VERSION:
        return
    with writing(db):
        # Another process may have made the tables since.
        version = db.execute("PRAGMA user_version").fetchone()[0]
        has_tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0
        if version == 0 and not has_tables:
            for statement in TABLES.split(";\n"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            return
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{path} holds tables of version {version}, this is version {SCHEMA_VERSION}; give "
            "another file, old rows are not converted"
        )


@contextlib.contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """Write all or nothing; waits for other writers first."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        StorageFullError: Disk, quota or size limit is reached.
        DatasetUnreadableError: The file is damaged or no ledger.
        LedgerError: Locked for too long, read-only, a failing disk.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC"):
            raise StorageFullError(
                errno.ENOSPC,
                f"{path} cannot grow: disk, quota or size limit reached; free space and resume",
            ) from error
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise DatasetUnreadableError(
                f"{path} is damaged or no ledger ({error}); give another file, the traces beside "
                "it stay usable"
            ) from error
        raise LedgerError(
            f"{path} cannot be used now: {error}; see that no other process holds it and that it "
            "may be written"
        ) from error

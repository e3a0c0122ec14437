"""A consistent copy of an SQLite database that another program has open; it is never written to."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from models.detection.secrets.files import FILE, kind_of
from models.detection.sensor.jsonl import BadRecordError

BUSY_S = 2.0
"""How long to wait for a lock that another program holds."""

_ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""Of a damaged database; the message of an error quotes it, and may be no UTF-8."""

_MAGIC = b"SQLite format 3\0"


def is_database(path: Path) -> bool:
    """Whether a file is an SQLite database, by its first bytes."""
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


@contextlib.contextmanager
def snapshot(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a private copy of a database, of one moment, its write-ahead log included.

    The backup interface reads under SQLite's own locks. Where these cannot be had (a program holds
    an exclusive one, the folder is read-only, a page is damaged), the files are copied as they
    are; SQLite then takes of the log what was committed.

    Raises:
        BadRecordError: There is no database, or nothing of it can be opened.
    """
    if not is_database(path):
        raise BadRecordError("no SQLite database")
    with tempfile.TemporaryDirectory(prefix="loom-snapshot-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            _back_up(path, copy)
        except (*_ERRORS, OSError):
            _copy_files(path, copy)
        try:
            db = sqlite3.connect(copy, isolation_level=None)
            try:
                db.text_factory = lambda raw: raw.decode("utf-8", "replace")
                db.execute("PRAGMA trusted_schema = OFF")
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            except _ERRORS:
                db.close()
                raise
        except _ERRORS as error:
            raise BadRecordError(f"a database that cannot be opened: {error}") from None
        with contextlib.closing(db):
            yield db


def _back_up(path: Path, copy: Path) -> None:
    address = f"file:{quote(str(path.absolute()))}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(address, uri=True, timeout=BUSY_S)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        # One page at a time would start anew at each commit of the other program.
        source.execute("PRAGMA query_only = ON")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        source.backup(target, pages=-1)


def _copy_files(path: Path, copy: Path) -> None:
    for suffix in ("", "-wal", "-journal"):
        target = copy.with_name(copy.name + suffix)
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        source = path.with_name(path.name + suffix)
        if kind_of(source) == FILE:
            try:
                shutil.copyfile(source, target)
            except OSError as error:
                raise BadRecordError(f"cannot be copied: {error.strerror or error}") from None


def rows(
    db: sqlite3.Connection, query: str, values: Sequence[Any] = (), damaged: list[str] | None = None
) -> Iterator[tuple[Any, ...]]:
    """Give the rows of a query as far as they can be read; `damaged` takes why no further."""
    try:
        yield from db.execute(query, values)
    except _ERRORS as error:
        if damaged is not None:
            damaged.append(str(error))


def pairs(
    db: sqlite3.Connection, table: str, first: str, end: str, damaged: list[str]
) -> dict[str, Any]:
    """Return the values of a table of keys and values by their keys, in order of their rows.

    Where a page is damaged, the table is read from both of its ends up to it.

    Args:
        db: See `snapshot`.
        table: Its name.
        first: Lowest key.
        end: Key after the highest one.
        damaged: Takes why not all was read.
    """
    before = len(damaged)
    query, wanted = f"SELECT rowid, key, value FROM {table}", " WHERE key >= ? AND key < ?"
    found = {row[0]: row for row in rows(db, query + wanted, (first, end), damaged)}
    if len(damaged) > before:
        for order in ("ASC", "DESC"):
            scan = f"{query} NOT INDEXED{wanted} ORDER BY rowid {order}"
            found.update((row[0], row) for row in rows(db, scan, (first, end), damaged))
    return {str(key): value for _, (_, key, value) in sorted(found.items())}


def tables(db: sqlite3.Connection) -> set[str]:
    """Return the names of the tables."""
    return {str(row[0]) for row in rows(db, "SELECT name FROM sqlite_master WHERE type = 'table'")}

"""Making a conversation's file: it gets its name when it is whole; one that is not was cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from models.agents.errors import CorruptLogError, NoConversationError
from models.agents.state import State
from models.agents.store.log import Row
from models.agents.store.schema import FORMAT, TABLES
from models.agents.store.seal import Seal
from models.agents.store.tables import write_rows

_RANDOM_BYTES = 6


def make_file(path: Path, conversation_id: str, seal: Seal | None) -> None:
    """Make the file of a conversation in which nothing happened yet, unless it is there."""
    fresh = path.with_name(f".{conversation_id}.{os.urandom(_RANDOM_BYTES).hex()}")
    try:
        write_file(fresh, conversation_id, (), State(), seal)
        _name(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    # The file's name is durable only with its folder.
    _sync(path.parent)


def write_file(
    path: Path, conversation_id: str, rows: Sequence[Row], state: State, seal: Seal | None
) -> None:
    """Write a whole log to a file that nobody reads yet; it is on the disk when this returns."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        # Whoever dies here leaves a file without a name: there is nothing to roll back to.
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA journal_mode = MEMORY")
        db.execute("BEGIN")
        for statement in filter(str.strip, TABLES.split(";")):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES (?, ?)", (FORMAT, conversation_id))
        kept_state = state.to_json() if seal is None else seal.shut(state.to_json())
        db.execute("INSERT INTO state VALUES (1, ?, ?, 0, '', 0)", (state.seq, kept_state))
        write_rows(db, rows, seal)
        db.execute("COMMIT")
        # Now, without a wait for the disk: whoever opens it would switch with several.
        db.execute("PRAGMA journal_mode = WAL")
    _sync(path)


def check_whole(path: Path) -> None:
    """Check a file before SQLite sees it, which takes an empty one for a new database.

    Raises:
        CorruptLogError: It was cut to nothing.
        NoConversationError: Somebody deleted it just now.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise NoConversationError(f"{path} was deleted just now; open another one") from None
    if size == 0:
        raise _cut(path, "is empty (0 bytes)")


def check_tables(db: sqlite3.Connection, path: Path) -> None:
    """Check that a file holds what every file of ours holds from its beginning.

    Raises:
        CorruptLogError: It does not.
    """
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone() is None:
        raise _cut(path, "has no tables")


def _cut(path: Path, found: str) -> CorruptLogError:
    return CorruptLogError(
        f"{path} {found}: it was cut, or copied without the -wal file beside it; restore it or "
        "import an export, or delete it"
    )


def left_over(path: Path, conversation_id: str) -> Iterator[Path]:
    """Give the files that somebody who was killed while making this one left beside it."""
    return path.parent.glob(f".{conversation_id}.{'[0-9a-f]' * 2 * _RANDOM_BYTES}")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    with _opened(path) as handle:
        os.fsync(handle)


def _name(fresh: Path, path: Path) -> None:
    try:
        os.link(fresh, path)
    except FileExistsError:
        return  # another process was faster
    except OSError:
        # A file system that knows one name per file. Who looked before another one renamed would
        # put an empty file in the place of that one's.
        with _opened(path.parent) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not path.exists():
                fresh.rename(path)

"""What SQLite says, in our words: what was asked, what was found, the way out."""

from __future__ import annotations

import contextlib
import errno
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from models.agents.errors import CorruptLogError, DuplicateEventError, LogError
from models.errors import StorageFullError

_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_SHMSIZE"}
_UNIQUE = re.compile(r"UNIQUE constraint failed: (event|intent|result)\.")
_WHAT = {"event": "an event", "intent": "a call", "result": "a result of a call"}


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours.

    Raises:
        DuplicateEventError: Something is in the log already.
        StorageFullError: The disk, quota or size limit is reached.
        CorruptLogError: The file is damaged or none of ours.
        LogError: Anything else: locked for too long, read-only, a failing disk.
    """
    try:
        yield
    except sqlite3.IntegrityError as error:
        if found := _UNIQUE.match(str(error)):
            raise DuplicateEventError(
                f"{_WHAT[found.group(1)]} of this id is in {path.name} already; nothing was "
                "appended"
            ) from None
        if "FOREIGN KEY" in str(error):
            raise LogError(
                f"a result of a call that nobody asked for does not go into {path.name}; commit "
                "its intent first"
            ) from None
        raise CorruptLogError(f"{path} breaks its own rules ({error})") from None
    except sqlite3.ProgrammingError as error:
        raise LogError(f"conversation {path.stem} was closed; open it again ({error})") from error
    except sqlite3.DatabaseError as error:
        name = getattr(error, "sqlite_errorname", "") or ""
        if name in _FULL:
            raise StorageFullError(
                errno.ENOSPC,
                f"conversation {path.stem} cannot grow: disk, quota or size limit reached; nothing "
                "was appended, free space and try again",
            ) from error
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise CorruptLogError(
                f"{path} is damaged or no conversation ({error}); restore it, or import an export"
            ) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            told = "another process holds it for too long; try again"
        elif name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
            told = "the folder is missing or not writable; use another store"
        else:
            told = "the disk or file system fails; use another store"
        raise LogError(f"conversation {path} cannot be used: {told} ({error})") from error

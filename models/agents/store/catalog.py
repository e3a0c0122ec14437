"""The catalogue of a folder: a cache of summaries, which can be thrown away at any time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from models.agents.errors import LogError, SealError
from models.agents.state import State
from models.agents.store.base import LOCKED, Summary
from models.agents.store.making import check_tables, check_whole
from models.agents.store.seal import Seal, check_key
from models.agents.store.summary import summary_of

NAME = "catalogue.db"

_COLUMNS = [entry.name for entry in fields(Summary)]
_RULES = 2
"""Of how rows are made; those of other rules are made anew."""
_TABLE = f"CREATE TABLE IF NOT EXISTS row (file TEXT PRIMARY KEY, mark TEXT, {', '.join(_COLUMNS)})"


class Catalog:
    """Lists conversations without opening those that did not change.

    Args:
        folder: Where they are.
        suffix: Of their files.
        seal: Of encrypted conversations; their titles are kept in memory only.
    """

    def __init__(self, folder: Path, suffix: str, seal: Seal | None = None) -> None:
        self._seal = seal
        self._folder = folder
        self._suffix = suffix
        self._db = self._open()
        self.read = 0
        """Files that had to be opened so far."""

    def _open(self) -> sqlite3.Connection:
        if self._seal is not None:
            return _connect(":memory:")
        path = self._folder / NAME
        try:
            return _connect(path)
        except sqlite3.DatabaseError:
            # It holds nothing that the conversations do not say.
            path.unlink(missing_ok=True)
            return _connect(path)

    def list(self) -> Sequence[Summary]:
        """Return all conversations, last changed first."""
        marks = self._marks()
        known = dict(self._db.execute("SELECT file, mark FROM row"))
        changed = [file for file, mark in marks.items() if known.get(file) != mark]
        gone = [file for file in known if file not in marks]
        if changed or gone:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("DELETE FROM row WHERE file = ?", [(file,) for file in gone])
            rows = [(file, marks[file], *astuple(self._summary(file))) for file in changed]
            places = ", ".join("?" * (len(_COLUMNS) + 2))
            self._db.executemany(f"INSERT OR REPLACE INTO row VALUES ({places})", rows)
            self._db.execute("COMMIT")
        query = f"SELECT {', '.join(_COLUMNS)} FROM row ORDER BY updated DESC, id"
        return [Summary(*row) for row in self._db.execute(query)]

    def _marks(self) -> dict[str, str]:
        """Return what changes whenever a conversation does, by file."""
        times: dict[str, list[int]] = {}
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name.removesuffix("-wal")
                if name.endswith(self._suffix):
                    status = entry.stat()
                    times.setdefault(name, []).extend((status.st_mtime_ns, status.st_size))
        return {name: str(sorted(numbers)) for name, numbers in times.items()}

    def _summary(self, file: str) -> Summary:
        self.read += 1
        conversation_id, path = file.removesuffix(self._suffix), self._folder / file
        try:
            check_whole(path)
            # Not read-only: a file whose process died may need its log played first.
            db = sqlite3.connect(path, timeout=10, isolation_level=None)
            try:
                check_tables(db, path)
                raw = db.execute("SELECT json FROM state").fetchone()[0]
            finally:
                db.close()
            check_key(self._seal, raw, file)
            opened = raw if self._seal is None else self._seal.open(raw)
            return summary_of(conversation_id, State.from_json(opened))
        except (sqlite3.DatabaseError, LogError, TypeError, ValueError, KeyError) as error:
            # A key that is missing or another one is no damage.
            reason = LOCKED if isinstance(error, SealError) else "damaged"
            empty = summary_of(conversation_id, State(phase="error", reason=reason))
            return Summary(**{**vars(empty), "damage": str(error)})


def _connect(path: str | Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    found = [row[1] for row in db.execute("PRAGMA table_info(row)")]
    rules = db.execute("PRAGMA user_version").fetchone()[0]
    if found and (found != ["file", "mark", *_COLUMNS] or rules != _RULES):
        db.execute("DROP TABLE row")
    if rules != _RULES:
        db.execute(f"PRAGMA user_version = {_RULES}")
    db.execute(_TABLE)
    return db

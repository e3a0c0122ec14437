"""The open file of a ledger: reads, and writes that happen whole or not at all."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.kernels.ledger.tables import connect, explained, writing


class LedgerFile:
    """One SQLite connection; safe between threads, and between processes by SQLite's own locks.

    Args:
        path: SQLite file on a local disk; made if missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = connect(path)
        self._lock = threading.RLock()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for reads of one state of the file."""
        with self._lock, explained(self.path):
            self._db.execute("BEGIN")
            try:
                yield self._db
            finally:
                self._db.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Give the connection for writes that happen together or not at all."""
        with self._lock, explained(self.path), writing(self._db):
            yield self._db

    def write(self, statement: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Run one statement for each row, in one transaction."""
        with self.transaction() as db:
            db.executemany(statement, [dict(row) for row in rows])

    def read(self, statement: str, *values: Any) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock, explained(self.path):
            return self._db.execute(statement, values).fetchall()

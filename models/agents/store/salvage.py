"""Rewriting a damaged file from the records that can be trusted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from models.agents.state import State
from models.agents.store.log import Row
from models.agents.store.schema import FORMAT, TABLES
from models.agents.store.seal import Seal
from models.agents.store.tables import connect, write_rows


def rewrite(
    path: Path, conversation_id: str, rows: Sequence[Row], state: State, seal: Seal | None
) -> Path:
    """Replace a conversation's file; returns where the damaged one is kept."""
    fresh = path.with_suffix(".repair")
    fresh.unlink(missing_ok=True)
    db = connect(fresh, "strict")
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("BEGIN")
    for statement in filter(str.strip, TABLES.split(";")):
        db.execute(statement)
    db.execute("INSERT INTO meta VALUES (?, ?)", (FORMAT, conversation_id))
    kept_state = state.to_json() if seal is None else seal.shut(state.to_json())
    db.execute("INSERT INTO state VALUES (1, ?, ?, 0, '', 0)", (state.seq, kept_state))
    write_rows(db, rows, seal)
    db.execute("COMMIT")
    db.close()
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    kept = next(name for name in names if not name.exists())
    for suffix in ("-wal", "-shm"):
        beside = Path(f"{path}{suffix}")
        if beside.exists():
            beside.replace(f"{kept}{suffix}")
    os.link(path, kept)
    fresh.replace(path)
    return kept

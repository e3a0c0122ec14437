"""Rewriting a damaged file from the records that can be trusted."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from models.agents.state import State
from models.agents.store.log import Row
from models.agents.store.making import write_file
from models.agents.store.seal import Seal


def rewrite(
    path: Path, conversation_id: str, rows: Sequence[Row], state: State, seal: Seal | None
) -> Path:
    """Replace a conversation's file; returns where the damaged one is kept."""
    fresh = path.with_suffix(".repair")
    fresh.unlink(missing_ok=True)
    write_file(fresh, conversation_id, rows, state, seal)
    names = (path.with_name(f"{path.name}.damaged-{n}") for n in itertools.count(1))
    kept = next(name for name in names if not name.exists())
    for suffix in ("-wal", "-shm"):
        beside = Path(f"{path}{suffix}")
        if beside.exists():
            beside.replace(f"{kept}{suffix}")
    os.link(path, kept)
    fresh.replace(path)
    return kept

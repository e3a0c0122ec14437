"""What is done with a damaged file: written anew in its place, or copied as it lies."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from models.agents.errors import LeaseHeldError
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


def copy_as_it_lies(path: Path, folder: Path) -> None:
    """Copy a conversation's file and what SQLite keeps beside it; nothing of it is opened.

    Raises:
        LeaseHeldError: Somebody writes to it just now.
    """
    files = [path, Path(f"{path}-wal")]

    def marks() -> list[tuple[int, int]]:
        found = [file.stat() for file in files if file.exists()]
        return [(status.st_mtime_ns, status.st_size) for status in found]

    before = marks()
    for file in files:
        if file.exists():
            shutil.copyfile(file, folder / file.name)
    if marks() != before:
        raise LeaseHeldError(f"{path} is written to just now; end what runs it, and try again")

"""The shipped sample logs, one or more of every format."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

from models.settings import get_settings


def samples(folder: Path) -> dict[str, tuple[Path, list[Path]]]:
    """Return the sample logs of each format: what to read, and its files.

    Args:
        folder: Where Cursor's database is made, `state.vscdb`.
    """
    logs = get_settings().datasets / "detection" / "agent_logs"
    found: dict[str, tuple[Path, list[Path]]] = {}
    for expected in sorted((logs / "expected").glob("*.json")):
        path = logs / json.loads(expected.read_text())["log"]
        if expected.stem == "cursor":
            path = _database(json.loads(path.read_text()), folder / "state.vscdb")
        root = path if path.is_dir() else path.parent
        is_many = path.is_dir() or path.parent != logs
        files = [p for p in root.rglob("*") if p.is_file()] if is_many else [path]
        found[expected.stem] = (path, sorted(files))
    return found


def _database(rows: dict[str, Any], path: Path) -> Path:
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE cursorDiskKV (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB)")
    written = [(key, json.dumps(value)) for key, value in rows.items()]
    db.executemany("INSERT INTO cursorDiskKV VALUES (?, ?)", written)
    db.commit()
    db.close()
    return path

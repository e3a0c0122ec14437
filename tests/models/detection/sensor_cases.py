"""Samples of the sensor's tests, as files that the parsers can open."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from models.settings import ROOT

LOGS = ROOT / "datasets" / "detection" / "agent_logs"
EXPECTED = {path.stem: json.loads(path.read_text()) for path in (LOGS / "expected").glob("*.json")}


def cursor_database(rows: dict[str, Any], path: Path) -> Path:
    """Make a database of Cursor."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    for table in ("ItemTable", "cursorDiskKV"):
        db.execute(f"CREATE TABLE {table} (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB)")
    values = [(key, v if isinstance(v, bytes) else json.dumps(v)) for key, v in rows.items()]
    db.executemany("INSERT INTO cursorDiskKV VALUES (?, ?)", values)
    db.commit()
    db.close()
    return path


def log_of(name: str, folder: Path) -> Path:
    """Return a sample's log in a form that can be read."""
    path: Path = LOGS / EXPECTED[name]["log"]
    if name == "cursor":
        return cursor_database(json.loads(path.read_text()), folder / "state.vscdb")
    return path


def home_of(folder: Path) -> Path:
    """Lay all samples out as their programs would in a home folder."""
    project = folder / ".claude" / "projects" / "-home-ada-ledger"
    shutil.copytree(LOGS / "claude_code", project)
    places = {
        "codex.jsonl": ".codex/sessions/2026/03/03/rollout-2026-03-03T14-00-00-019c2f40.jsonl",
        "gemini_old.json": ".gemini/tmp/site/chats/session-2025-10-01T07-00-77aa0000.json",
        "loom_agents.jsonl": "",
        "mcp_tap.jsonl": ".loom/detection/taps/notes.jsonl",
    }
    for name, place in places.items():
        if place:
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(LOGS / name, folder / place)
    shutil.copytree(LOGS / "gemini" / "chats", folder / ".gemini/tmp/data/chats")
    shutil.copytree(LOGS / "openhands", folder / ".openhands/conversations/c1")
    storage = folder / ".config/Code/User/globalStorage/saoudrizwan.claude-dev/tasks"
    shutil.copytree(LOGS / "cline", storage)
    log_of("cursor", folder / ".config/Cursor/User/globalStorage")
    return folder

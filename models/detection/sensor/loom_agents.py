"""Our own agents: the export of a conversation as JSON lines, or its database. Nothing is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.detection.sensor.base import Source, files_at, head_of, is_file
from models.detection.sensor.jsonl import BadRecordError
from models.detection.sensor.snapshot import is_database, snapshot, tables
from models.detection.session import Session

_SUFFIX = ".conversation"


class LoomAgents:
    """Conversations of our own agents.

    Args:
        folder: Where they are, below the home folder.
    """

    name = "loom-agents"

    def __init__(self, folder: str = ".loom") -> None:
        self._folder = folder

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the databases below the folder.

        What lies in the workspaces of agents is whatever they wrote, and what lies below
        `detection` are copies and the conversations of its own judge.
        """
        top = home / self._folder
        for path in files_at(top, [f"**/*{_SUFFIX}"], unreadable):
            parts = path.relative_to(top).parts
            if parts[0] == "detection" or parts[:2] == ("agents", "workspaces"):
                continue
            wal = path.with_name(path.name + "-wal")
            yield Source(path, (path, wal) if _holds_something(wal) else (path,))

    def source(self, path: Path) -> Source | None:
        """Return the conversation of an export or of a database."""
        if not is_file(path):
            return None
        if is_database(path):
            try:
                with snapshot(path) as db:
                    is_ours = {"event", "blob", "intent"} <= tables(db)
            except BadRecordError:
                is_ours = path.suffix == _SUFFIX
            return Source(path, (path,)) if is_ours else None
        records = head_of(path).records
        is_export = bool(records) and {"format", "conversation"} <= records[0].keys()
        return Source(path, (path,)) if is_export else None

    def read(self, source: Source) -> list[Session]:
        """Read a conversation."""
        # Only here: the room of our agents is most of what importing the sensor would cost, and
        # the hook of other agents never reads one of these.
        from models.detection.sensor.loom_events import read_conversation

        return [read_conversation(self.name, source.path)]


def _holds_something(wal: Path) -> bool:
    """Whether a write-ahead log has pages: reading a database leaves an empty one behind."""
    try:
        return is_file(wal) and wal.stat().st_size > 0
    except OSError:
        return False

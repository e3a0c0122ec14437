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
    """Conversations of our own agents."""

    name = "loom-agents"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the databases below `.loom` in the home folder."""
        for path in files_at(home / ".loom", [f"**/*{_SUFFIX}"], unreadable):
            wal = path.with_name(path.name + "-wal")
            yield Source(path, (path, wal) if is_file(wal) else (path,))

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

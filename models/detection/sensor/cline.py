"""Cline, Roo Code and Kilo Code: a folder per task in an editor's `globalStorage`.

`api_conversation_history.json` is what the model was told and said, `ui_messages.json` what the
user saw: times, reasoning, and all that is left where the former cannot be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from models.detection.sensor.base import Source, files_at, folders_at
from models.detection.sensor.cline_api import Conversation
from models.detection.sensor.cline_ui import read_shown, thoughts, times
from models.detection.sensor.draft import Draft
from models.detection.sensor.values import mapping, sequence
from models.detection.session import Session

HISTORY, SHOWN, METADATA = "api_conversation_history.json", "ui_messages.json", "task_metadata.json"
_EDITORS = ("Code", "Code - Insiders", "VSCodium", "Cursor", "Windsurf")
_STORAGES = (
    *(f".config/{one}/User/globalStorage" for one in _EDITORS),
    *(f"Library/Application Support/{one}/User/globalStorage" for one in _EDITORS),
    *(f"AppData/Roaming/{one}/User/globalStorage" for one in _EDITORS),
    ".vscode-server/data/User/globalStorage", ".cursor-server/data/User/globalStorage",
)  # fmt: skip
_EXTENSIONS = {
    "saoudrizwan.claude-dev": "cline",
    "rooveterinaryinc.roo-cline": "roo-code",
    "kilocode.kilo-code": "kilo-code",
}


class Cline:
    """Tasks of Cline and of what was made of it."""

    name = "cline"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the folders of tasks."""
        patterns = [f"{at}/{one}/tasks/*" for at in _STORAGES for one in _EXTENSIONS]
        for folder in folders_at(home, [*patterns, ".cline/data/tasks/*"], unreadable):
            files = tuple(files_at(folder, [HISTORY, SHOWN, METADATA], unreadable))
            if any(file.name in (HISTORY, SHOWN) for file in files):
                yield Source(folder, files)

    def source(self, path: Path) -> Source | None:
        """Return the task of a folder, or of one of its files."""
        folder = path.parent if path.name in (HISTORY, SHOWN) else path
        files = tuple(files_at(folder, [HISTORY, SHOWN, METADATA]))
        is_task = any(file.name in (HISTORY, SHOWN) for file in files)
        return Source(folder, files) if is_task else None

    def read(self, source: Source) -> list[Session]:
        """Read a task."""
        agent = next((a for e, a in _EXTENSIONS.items() if e in source.path.parts), self.name)
        draft = Draft(agent)
        files = {file.name: file for file in source.files}
        shown = draft.document(files[SHOWN]) if SHOWN in files else None
        seen = list(draft.elements(files[SHOWN], sequence(shown))) if SHOWN in files else []
        history = draft.document(files[HISTORY]) if HISTORY in files else None
        if METADATA in files:
            self._metadata(draft, draft.document(files[METADATA]))
        if sequence(history):
            conversation = Conversation(draft, sequence(history), times(seen), thoughts(seen))
            for record in draft.elements(files[HISTORY], sequence(history)):
                draft.take(record, conversation.message)
        else:
            for record in seen:
                draft.take(record, partial(read_shown, draft))
        return [draft.session(source.path.name)]

    @staticmethod
    def _metadata(draft: Draft, metadata: Any) -> None:
        for usage in map(mapping, sequence(mapping(metadata).get("model_usage"))):
            draft.note("model", usage.get("model_id"))
            draft.note("mode", usage.get("mode"))
        for entry in map(mapping, sequence(mapping(metadata).get("environment_history"))):
            draft.note("version", entry.get("cline_version"))

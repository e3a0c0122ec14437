"""Cursor: chats in the table `cursorDiskKV` of `state.vscdb`, by keys of their own.

`composerData:<chat>` lists the bubbles in order (`fullConversationHeadersOnly`); each bubble is
`bubbleId:<chat>:<bubble>`. Older versions keep them inline (`conversation`), the oldest in a
table of the workspace (`ItemTable`). A bubble that the chat does not list was taken back.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from models.detection.sensor.base import Source, files_at, is_file
from models.detection.sensor.cursor_bubbles import read_bubble
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.jsonl import BadRecordError, decode
from models.detection.sensor.snapshot import is_database, pairs, rows, snapshot, tables
from models.detection.sensor.values import mapping, name, seconds, sequence, text
from models.detection.session import Session

_FOLDERS = (
    ".config/Cursor/User", "Library/Application Support/Cursor/User",
    "AppData/Roaming/Cursor/User", ".cursor-server/data/User",
)  # fmt: skip
_CHATS = "workbench.panel.aichat.view.aichat.chatdata"
_NOTED = ("name", "unifiedMode", "forceMode", "status", "subagentComposerIds")


class Cursor:
    """Chats of Cursor."""

    name = "cursor"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the databases with their write-ahead logs."""
        patterns = [f"{at}/{kind}/state.vscdb" for at in _FOLDERS for kind in _KINDS]
        for path in files_at(home, patterns, unreadable):
            wal = path.with_name(path.name + "-wal")
            yield Source(path, (path, wal) if is_file(wal) else (path,))

    def source(self, path: Path) -> Source | None:
        """Return the database of a file; one that is damaged counts by its name."""
        if not is_file(path) or not is_database(path):
            return None
        try:
            with snapshot(path) as db:
                is_ours = bool(tables(db) & {"cursorDiskKV", "ItemTable"})
        except BadRecordError:
            is_ours = path.suffix == ".vscdb"
        return Source(path, (path,)) if is_ours else None

    def read(self, source: Source) -> list[Session]:
        """Read all chats of a database."""
        whole = Draft(self.name)
        try:
            with snapshot(source.path) as db:
                sessions = [
                    *self._composers(db, source.path, whole),
                    *self._tabs(db, source, whole),
                ]
        except BadRecordError as error:
            whole.records += 1
            whole.put_aside(source.path.name, str(error))
            sessions = []
        if whole.quarantined or not sessions:
            # What is wrong with the database as a whole belongs to none of its chats.
            sessions.append(whole.session(f"{source.path.parent.name}/{source.path.name}"))
        return sessions

    def _composers(self, db: sqlite3.Connection, path: Path, whole: Draft) -> Iterator[Session]:
        damaged: list[str] = []
        if "cursorDiskKV" not in tables(db):
            return
        found = pairs(db, "cursorDiskKV", "composerData:", "composerData;", damaged)
        chats = {key.partition(":")[2]: raw for key, raw in found.items() if raw is not None}
        of_bubbles = (
            "SELECT DISTINCT substr(key, 10, instr(substr(key, 10), ':') - 1) FROM cursorDiskKV"
            " WHERE key >= 'bubbleId:' AND key < 'bubbleId;'"
        )
        orphans = {str(chat) for (chat,) in rows(db, of_bubbles, (), damaged)} - chats.keys()
        for chat in [*chats, *sorted(orphans)]:
            prefix = f"bubbleId:{chat}:"
            stored = pairs(db, "cursorDiskKV", prefix, f"{prefix[:-1]};", damaged)
            bubbles = {key[len(prefix) :]: raw for key, raw in stored.items()}
            draft = Draft(self.name)
            place = f"{path.name}#composerData:{chat}"
            _read_chat(draft, place, chats.get(chat), bubbles)
            if draft.events or draft.quarantined:
                yield draft.session(chat)
        for why in dict.fromkeys(damaged):
            whole.records += 1
            whole.put_aside(f"{path.name}#cursorDiskKV", f"a damaged table: {why}")

    def _tabs(self, db: sqlite3.Connection, source: Source, whole: Draft) -> Iterator[Session]:
        if "ItemTable" not in tables(db):
            return
        place = f"{source.path.name}#{_CHATS}"
        for (raw,) in rows(db, "SELECT value FROM ItemTable WHERE key = ?", (_CHATS,)):
            data = _value(whole, place, raw)
            for tab in sequence(mapping(data).get("tabs")):
                draft = Draft(self.name)
                for number, bubble in enumerate(sequence(mapping(tab).get("bubbles"))):
                    _bubble(draft, f"{place}/{number}", bubble)
                if draft.events:
                    yield draft.session(name(tab.get("tabId")) or f"tab{len(draft.events)}")


_KINDS = ("globalStorage", "workspaceStorage/*")


def _value(draft: Draft, place: str, raw: Any) -> Any:
    """Read a value of the table; None: it cannot be read, or is not there."""
    if raw is None:
        return None
    data = raw if isinstance(raw, bytes) else str(raw).encode()
    draft.records += 1
    try:
        value, mended = decode(data)
    except BadRecordError as error:
        draft.put_aside(place, str(error), data)
        return None
    draft.mended.update(mended)
    return value


def _read_chat(draft: Draft, place: str, raw: Any, bubbles: dict[str, Any]) -> None:
    composer = _value(draft, place, raw)
    if composer is not None and not isinstance(composer, dict):
        draft.put_aside(
            place, f"a {type(composer).__name__} and no object", text(composer).encode()
        )
    chat = mapping(composer)
    for key in _NOTED:
        draft.note(key, chat.get(key))
    draft.note("model", mapping(chat.get("modelConfig")).get("modelName"))
    workspace = mapping(mapping(chat.get("workspaceIdentifier")).get("uri"))
    draft.note("cwd", workspace.get("fsPath"))
    headers = sequence(chat.get("fullConversationHeadersOnly"))
    listed = [mapping(header) for header in headers]
    first = len(draft.events)
    seen: set[str] = set()
    for header in listed:
        bubble = name(header.get("bubbleId"))
        seen.add(bubble)
        if bubble in bubbles:
            value = _value(draft, f"{place}/{bubble}", bubbles[bubble])
            if value is not None:
                _bubble(draft, f"{place}/{bubble}", value, seconds(header.get("createdAt")))
        else:
            draft.mended["bubble that is listed and not there"] += 1
    for number, bubble in enumerate(sequence(chat.get("conversation"))):
        _bubble(draft, f"{place}/conversation/{number}", bubble)
    tail = draft.tails.get("")
    unlisted = [bubble for bubble in bubbles if bubble not in seen]
    rewound = len(draft.events)
    draft.tails[""] = None
    for bubble in unlisted:
        value = _value(draft, f"{place}/{bubble}", bubbles[bubble])
        if value is not None:
            _bubble(draft, f"{place}/{bubble}", value)
    if composer is not None and rewound > first:
        # Without a list nobody can say what was taken back.
        draft.abandon(rewound)
    draft.tails[""] = tail


def _bubble(draft: Draft, place: str, bubble: Any, time_s: float | None = None) -> None:
    if isinstance(bubble, dict):
        draft.take(Record(place, bubble), partial(read_bubble, draft, time_s))
    else:
        draft.put_aside(place, f"a {type(bubble).__name__} and no object", text(bubble).encode())

"""Gemini CLI: `~/.gemini/tmp/<project>/chats/session-<time>-<id>.jsonl`, older ones `.json`.

A `.jsonl` is written as it goes: a message comes again, whole, when its calls end; `$rewindTo`
takes back a message and what follows it; `$set` with `messages` puts others in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from models.detection.sensor.base import Source, files_at, head_of, is_file
from models.detection.sensor.draft import Draft, Record
from models.detection.sensor.gemini_messages import read_message
from models.detection.sensor.values import content, mapping, name, need_mapping, sequence
from models.detection.session import Session

_NOTED = ("projectHash", "kind", "summary", "directories", "activeExtensionName")
_SHORT_ID = 8
_SUMMARY = "<state_snapshot>"


@dataclass
class Entry:
    """A message, in its last version.

    Attributes:
        record: As it was read last.
        before: Message before it on its branch.
        is_abandoned: It was taken back.
        replaced: Messages that it sums up.
        ends: Last event that was made of it.
        events: All of them.
    """

    record: Record
    before: Entry | None
    is_abandoned: bool = False
    replaced: list[Entry] = field(default_factory=list)
    ends: str | None = None
    events: list[str] = field(default_factory=list)


class Gemini:
    """Chats of Gemini CLI."""

    name = "gemini"

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the chats; those of sub-agents lie in a folder named by their chat."""
        tmp = home / ".gemini" / "tmp"
        patterns = ["*/chats/session-*.jsonl", "*/chats/session-*.json"]
        for path in files_at(tmp, patterns, unreadable):
            yield Source(path, (path, *_inner(path)))

    def source(self, path: Path) -> Source | None:
        """Return the chat of a file."""
        if not is_file(path):
            return None
        head = head_of(path)
        is_lines = any("sessionId" in r and "projectHash" in r for r in head.records)
        document = mapping(head.document)
        is_document = "sessionId" in document and "messages" in document
        is_cut = b'"projectHash"' in head.start[:2_000] and b'"messages"' in head.start
        return Source(path, (path, *_inner(path))) if is_lines or is_document or is_cut else None

    def read(self, source: Source) -> list[Session]:
        """Read a chat with its sub-agents."""
        draft = Draft(self.name)
        main = _Chat(draft, source.path)
        chats = {file.stem: _Chat(draft, file) for file in source.files if file != source.path}
        for key, value in main.metadata.items():
            draft.note(key, value)
        main.write("", None, chats)
        for actor, chat in chats.items():
            chat.write(actor, None, {})
        return [draft.session(main.id or source.path.stem)]


def _inner(path: Path) -> list[Path]:
    short = path.stem.rpartition("-")[2]
    if len(short) < _SHORT_ID:
        return []
    return files_at(path.parent, [f"{short[:_SHORT_ID]}*/*.jsonl"])


class _Chat:
    """The messages of one file, replayed."""

    def __init__(self, draft: Draft, path: Path) -> None:
        self._draft = draft
        self.id = ""
        self.metadata: dict[str, Any] = {}
        self._entries: list[Entry] = []
        self._alive: dict[str, Entry] = {}
        self._is_written = False
        if path.suffix == ".json" or not self._has_lines(path):
            self._document(path)
        else:
            for record in draft.lines(path):
                draft.take(record, self._record)

    @staticmethod
    def _has_lines(path: Path) -> bool:
        return bool(head_of(path).records) and "messages" not in mapping(head_of(path).document)

    def _document(self, path: Path) -> None:
        whole = mapping(self._draft.document(path, "messages"))
        self._metadata(whole)
        for record in self._draft.elements(path, sequence(whole.get("messages"))):
            self._message(record)

    def _metadata(self, values: dict[str, Any]) -> None:
        self.id = self.id or name(values.get("sessionId"))
        self.metadata.update({key: values[key] for key in _NOTED if key in values})

    def _record(self, record: Record) -> None:
        value = record.value
        if "$rewindTo" in value:
            self._rewind(name(value["$rewindTo"]))
        elif "$set" in value:
            changes = need_mapping(value["$set"], "$set")
            self._metadata(changes)
            if isinstance(changes.get("messages"), list):
                self._put(record, changes["messages"])
        elif "type" in value:
            self._message(record)
        elif "sessionId" in value or "projectHash" in value:
            self._metadata(value)
            if value.get("messages"):
                self._put(record, sequence(value["messages"]))
        else:
            self._draft.not_known("", record)

    def _message(self, record: Record) -> None:
        id = name(record.value.get("id")) or record.place
        if known := self._alive.get(id):
            known.record = record
            return
        before = next(reversed(self._alive.values()), None)
        self._alive[id] = Entry(record, before)
        self._entries.append(self._alive[id])

    def _rewind(self, target: str) -> None:
        """Take back a message and all after it; a target that is not there takes back all."""
        ids = list(self._alive)
        for id in ids[ids.index(target) if target in self._alive else 0 :]:
            self._alive.pop(id).is_abandoned = True

    def _put(self, record: Record, messages: list[Any]) -> None:
        """Put messages in the place of those that are there."""
        old, self._alive = self._alive, {}
        sums: Entry | None = None
        for number, value in enumerate(messages):
            if not isinstance(value, dict):
                continue
            id = name(value.get("id")) or f"{record.place}/{number}"
            if known := old.pop(id, None):
                known.record = Record(known.record.place, value)
                self._alive[id] = known
                continue
            self._message(Record(f"{record.place}/{number}", {**value, "id": id}))
            if sums is None and content(value.get("content")).text.lstrip().startswith(_SUMMARY):
                sums = self._alive[id]
        for entry in old.values():
            if sums is None:
                entry.is_abandoned = True
            else:
                sums.replaced.append(entry)
        if sums is not None:
            # The summary is told before what was kept; it happened after all of it.
            self._entries.remove(sums)
            self._entries.append(sums)

    def write(self, actor: str, delegated_by: str | None, inner: dict[str, _Chat]) -> None:
        """Make the events of the messages."""
        if self._is_written:
            return
        self._is_written = True
        for entry in self._entries:
            first = len(self._draft.events)
            self._draft.tails[actor] = entry.before.ends if entry.before else None
            event = {
                "actor": actor, "delegated_by": delegated_by, "is_abandoned": entry.is_abandoned,
                "place": entry.record.place,
            }  # fmt: skip

            def begin(agent: str, call: str) -> str | None:
                chat = inner.get(agent) or next((c for c in inner.values() if c.id == agent), None)
                if chat is None:
                    return None
                agent = next(key for key, one in inner.items() if one is chat)
                chat.write(agent, call, {})
                return self._draft.tails.get(agent)

            derived = [id for one in entry.replaced for id in one.events]
            read = partial(read_message, self._draft, event, derived, begin)
            self._draft.take(entry.record, read)
            entry.ends = self._draft.tails.get(actor)
            made = self._draft.events[first:]
            entry.events = [one.id for one in made if one.actor == actor]

"""Reads the logs of all agents of a user into a store, or one log of any format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from models.detection.secrets.files import FOLDER, NOTHING, kind_of, need_path
from models.detection.sensor.base import Change, ReadPosition, Source, TraceParser
from models.detection.sensor.claude_code import ClaudeCode
from models.detection.sensor.cline import Cline
from models.detection.sensor.codex import Codex
from models.detection.sensor.cursor import Cursor
from models.detection.sensor.gemini import Gemini
from models.detection.sensor.loom_agents import LoomAgents
from models.detection.sensor.mcp_tap import McpTap
from models.detection.sensor.openhands import OpenHands
from models.detection.sensor.store import Store
from models.detection.session import Session
from models.errors import DataError, unknown_name

ALL: tuple[TraceParser, ...] = (
    ClaudeCode(), Codex(), Cursor(), Cline(), Gemini(), OpenHands(), LoomAgents(), McpTap(),
)  # fmt: skip
"""Every format, in the order in which a log is tried."""

_LINE = re.compile(r"(.+):(\d+)")


@dataclass
class Collection:
    """What one collection did.

    Attributes:
        sources: Logs that are there.
        unchanged: Those that were not opened: they are as they were.
        sessions: Read.
        stored: Of these, new or changed ones.
        records, quarantined, unknown: Of the sessions read; see `Coverage`.
        rewritten: Files whose beginning is no longer what was read.
        gone: Logs that were read before and are not there; what was kept of them stays.
        unreadable: What stands where a log would and cannot be looked at, with why.
        same_ids: Sessions whose id another log has too, with what they are kept as.
    """

    sources: int = 0
    unchanged: int = 0
    sessions: int = 0
    stored: int = 0
    records: int = 0
    quarantined: int = 0
    unknown: Counter[str] = field(default_factory=Counter)
    rewritten: list[Path] = field(default_factory=list)
    gone: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    same_ids: list[str] = field(default_factory=list)

    def take(
        self, sessions: Iterable[Session], source: Path, store: Store, *, keep_before: bool = False
    ) -> list[Path]:
        """Put the sessions of a log into a store, count them, and return where they are kept."""
        places = []
        for session in sessions:
            self.sessions += 1
            self.records += session.coverage.records
            self.quarantined += len(session.coverage.quarantined)
            self.unknown.update(session.coverage.unknown)
            kept = store.claimed(session, source)
            if kept is not session:
                self.same_ids.append(f"{source} has the id '{session.id}' of another log's session"
                                     f"; it is kept as '{kept.id}'")  # fmt: skip
            self.stored += store.put(kept, keep_before=keep_before)
            places.append(store.path_of(kept))
        return places


def collect(
    home: Path, store: Store, parsers: Sequence[TraceParser] = ALL, within: Path | None = None
) -> Collection:
    """Read what is new below a home folder into a store.

    A log of which nothing changed is not opened; one that grew is read whole again, since later
    records change what earlier ones mean.

    Args:
        home: The user's home folder.
        store: What is new goes into it.
        parsers: Formats to look for.
        within: Only logs below this folder; None: all.

    Raises:
        DataError: There is no such folder, or the store cannot be written.
        StorageFullError: The store's disk is full; what was stored is whole.
    """
    if kind_of(home) != FOLDER:
        raise DataError(f"{home} is no folder; name the home folder of the user to collect of")
    done = Collection()
    seen: set[Path] = set()
    try:
        for parser in parsers:
            for source in parser.sources(home, done.unreadable):
                if within is not None and not source.path.is_relative_to(within):
                    continue
                done.sources += 1
                seen.add(source.path)
                _collect(parser, source, store, done)
        done.gone = gone(store, seen)
    finally:
        store.save()
    return done


def gone(store: Store, seen: Set[Path]) -> list[Path]:
    """Return the logs that a store knows and that are not there now."""
    return [p for p in store.known_sources() if p not in seen and kind_of(p) == NOTHING]


def _collect(parser: TraceParser, source: Source, store: Store, done: Collection) -> None:
    known = store.positions(source.path)
    changes: dict[Path, Change] = {
        file: known[str(file)].change(file) for file in source.files if str(file) in known
    }
    is_same = len(known) == len(source.files) == len(changes)
    if is_same and all(change == "unchanged" for change in changes.values()):
        done.unchanged += 1
        return
    # A database and its log are rewritten in place by their nature.
    rewritten = [f for f, change in changes.items() if change == "rewritten"]
    rewritten = [f for f in rewritten if f.suffix in (".jsonl", ".json")]
    done.rewritten += rewritten
    # Of a log that can no longer be opened nothing is read: what was kept must not be lost by it.
    is_lost = any(change == "gone" for change in changes.values())
    # Before reading: what is appended meanwhile is found by the next collection.
    positions = {str(file): ReadPosition.of(file) for file in source.files}
    sessions = parser.read(source)
    for session in sessions:
        _keep_aside(session, source, store)
    done.take(sessions, source.path, store, keep_before=bool(rewritten) or is_lost)
    store.set_positions(source.path, {file: at for file, at in positions.items() if at})


def _keep_aside(session: Session, source: Source, store: Store) -> None:
    files = {file.name: file for file in source.files}
    for bad in session.coverage.quarantined:
        match = _LINE.fullmatch(bad.place)
        if match and bad.digest and match[1] in files:
            store.put_aside(files[match[1]], int(match[2]), bad.digest)


def read_log(path: Path, format: str | None = None) -> list[Session]:
    """Read one log: a file, or the folder of a session of many files.

    Args:
        path: Its format is told by what it holds.
        format: Name of the format; None: the first that fits.

    Raises:
        DataError: It is not there, cannot be looked at, or is of no known format.
        UnknownNameError: There is no such format.
    """
    if format is not None and format not in {parser.name for parser in ALL}:
        raise unknown_name("log format", format, [parser.name for parser in ALL])
    need_path(path)
    for parser in ALL:
        if format in (None, parser.name) and (source := parser.source(path)) is not None:
            return parser.read(source)
    names = ", ".join(parser.name for parser in ALL)
    wanted = f"no log of {format}" if format else f"a log of none of the formats {names}"
    raise DataError(f"{path} is {wanted}; name the file or folder of one session")

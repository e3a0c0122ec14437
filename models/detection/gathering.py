"""Sessions of a data source in a store of its own: what `detect-attacks` judges."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import pandas as pd

from models.detection.config import DetectConfig
from models.detection.evaluation.labelled import holds_sessions, read_labelled
from models.detection.secrets.files import FOLDER, NOTHING, kind_of, need_path
from models.detection.sensor.collect import ALL, Collection, collect, gone, read_log
from models.detection.sensor.loom_agents import LoomAgents
from models.detection.sensor.samples import samples
from models.detection.sensor.store import Store, UnwritableStoreError, unwritable
from models.detection.session import Session
from models.errors import DataError

_MOST_LOGS = 100_000
_DEEPEST_PART = 4
"""Folders between a part of a home folder and the folder with a dot: `.config/Code/User/...`."""
_OF_FILES = "file"
"""Agent of sessions that come from a file of sessions."""


class Stored(NamedTuple):
    """A session in a store.

    Attributes:
        path: Its file.
        digest: SHA-256 of it.
    """

    path: Path
    digest: str


@dataclass(frozen=True)
class Gathered:
    """What was found.

    Attributes:
        folder: The store.
        sessions: All that it holds, in order.
        collection: What the last look did; counts of logs and records.
        skipped: Files that are no log of a known format.
    """

    folder: Path
    sessions: tuple[Stored, ...]
    collection: Collection
    skipped: tuple[str, ...] = ()


def data_of(config: DetectConfig) -> Path | None:
    """Return the data of a run, `~` spelled out; None: the shipped samples.

    Raises:
        DataError: Its path names the home of a user that there is not.
    """
    try:
        return config.data.expanduser() if config.data else None
    except RuntimeError as error:
        raise DataError(f"{config.data} is no path ({error}); write it out") from None


def named_source(config: DetectConfig) -> str:
    """Return whose sessions are judged, in words."""
    if config.installation:
        return "agents of this installation"
    return str(config.data or "shipped sample logs")


def store_of(config: DetectConfig, home: Path) -> Path:
    """Return the folder of the store of a data source: each has one of its own.

    Raises:
        DataError: Its path cannot be spelled out.
    """
    data = data_of(config)
    if config.installation:
        return home / "detection" / "stores" / "installation"
    if data is None:
        return home / "detection" / "stores" / "samples"
    path = data.absolute()
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:10]
    return home / "detection" / "stores" / f"{path.name or 'root'}-{digest}"


def gather(config: DetectConfig, home: Path) -> Gathered:
    """Bring the sessions of a data source into its store; what is there already is not read anew.

    What is kept of a log stays when the log is gone; of a file of sessions only what it holds now
    counts, since it is no record of what an agent did but whatever somebody put together.

    Raises:
        DataError: There is no such file or folder, nothing in it is a log, or the store cannot be
            written.
        StorageFullError: The store's disk is full.
    """
    folder = store_of(config, home)
    data = data_of(config)
    if data is not None:
        _need(data, folder)
    store = Store(folder)
    done, skipped, placed = Collection(), list[str](), set[Path]()
    if config.installation:
        done = collect(home, store, (LoomAgents("."),))
    elif data is None:
        for name, path in _samples(folder).items():
            # By its name: where the samples lie is no property of theirs.
            done.take(read_log(path), Path("samples", name), store)
            done.sources += 1
    elif config.format is None and (found := _home_of(data)) is not None:
        done = collect(found[0], store, within=found[1])
    elif holds_sessions(data):
        placed.update(done.take(_labelled(data), data, store))
        done.sources += 1
    else:
        for log in _logs(data, config.format):
            try:
                if holds_sessions(log):
                    placed.update(done.take(_labelled(log), log, store))
                else:
                    done.take(read_log(log, config.format), log, store)
                done.sources += 1
            except UnwritableStoreError:
                raise
            except DataError as error:
                skipped.append(str(error))
        done.gone = gone(store, set())
    store.save()
    paths = [
        path for path in store.paths(skipped) if path.parent.name != _OF_FILES or path in placed
    ]
    # An installation whose agents have not worked yet is none with a fault.
    if not paths and not config.installation:
        why = f": {skipped[0]}" if skipped else ""
        raise DataError(
            f"{data} holds no log of an agent{why}; name a home folder, a log, a folder of logs, "
            "or a file of sessions"
        )
    return Gathered(folder, tuple(map(_stored, paths)), done, tuple(skipped))


def _need(data: Path, folder: Path) -> None:
    if kind_of(data) == NOTHING and kind_of(folder) == FOLDER:
        raise DataError(
            f"{data} is neither a file nor a folder any more; check the path: what was read of it "
            f"before is kept in {folder}"
        )
    need_path(data)


def _samples(folder: Path) -> dict[str, Path]:
    scratch = folder.with_name("sample-logs")
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        return {name: path for name, (path, _) in samples(scratch).items()}
    except (OSError, sqlite3.Error) as error:
        raise unwritable(scratch, folder.parent, error) from None


def _labelled(file: Path) -> Iterator[Session]:
    for number, (session, _) in enumerate(read_labelled(file), 1):
        yield msgspec.structs.replace(session, id=f"{file.stem}-{number}", agent=_OF_FILES)


def _stored(path: Path) -> Stored:
    try:
        return Stored(path, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError as error:
        raise DataError(
            f"session {path} cannot be read ({error.strerror}); make it readable, or remove it"
        ) from None


def is_home(folder: Path) -> bool:
    """Return whether a folder is a home folder: an agent program keeps logs below it."""
    return any(True for parser in ALL for _ in parser.sources(folder))


def _home_of(data: Path) -> tuple[Path, Path | None] | None:
    """Return the home folder that a folder is, or is a part of (`.claude/projects`), and the part.

    None: no agent program keeps logs there.
    """
    if kind_of(data) != FOLDER:
        return None
    if is_home(data):
        return data, None
    part = Path(os.path.abspath(data))
    for folder in (part, *part.parents[:_DEEPEST_PART]):
        # Programs keep what is theirs in a folder with a dot.
        if folder.name.startswith("."):
            logs = (source.path for parser in ALL for source in parser.sources(folder.parent))
            if any(log.is_relative_to(part) for log in logs):
                return folder.parent, part
    return None


def _logs(path: Path, format: str | None) -> list[Path]:
    """Return the path, or what lies in a folder that is no log itself."""
    if kind_of(path) != FOLDER:
        return [path]
    parsers = [parser for parser in ALL if format in (None, parser.name)]
    if any(parser.source(path) is not None for parser in parsers):
        return [path]
    try:
        return sorted(path.iterdir())[:_MOST_LOGS]
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); make it readable, or name another folder"
        ) from None


def load(stored: Stored) -> Session:
    """Read a session of a store.

    Raises:
        DataError: It is damaged.
    """
    return Store(stored.path.parent.parent.parent).load(stored.path)


def sessions_edge(gathered: Gathered) -> pd.DataFrame:
    """Return one row per session for the contract `datasets/detection/sessions`."""
    now = time.time()
    rows = []
    for stored in gathered.sessions:
        try:
            session = load(stored)
        except DataError:
            session = Session("damaged", ())  # the contract sets it aside, the others are judged
        times = [event.time_s for event in session.events if event.time_s is not None]
        last = max(times, default=None)
        coverage = session.coverage
        rows.append(
            {
                "session": f"{session.agent}/{stored.path.stem}", "agent": session.agent,
                "events": len(session.events), "calls": sum(1 for _ in session.calls()),
                "records": coverage.records, "quarantined": len(coverage.quarantined),
                "missing_results": coverage.missing_results, "read_share": coverage.share,
                "last_s": last, "ahead_s": None if last is None else last - now,
            }
        )  # fmt: skip
    frame = pd.DataFrame(rows)
    return frame.astype({"last_s": float, "ahead_s": float})

"""The steps of `detect-attacks`: sessions into a store, a verdict for each, kept by content."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import msgspec
import pandas as pd

from models.detection.config import DetectConfig
from models.detection.dataflow.labels import UNLABELLED, read_labels
from models.detection.evaluation.labelled import holds_sessions, read_labelled
from models.detection.examiner import Check, Examiner
from models.detection.integrity.confidential import confidential_to_strangers
from models.detection.integrity.usage import Known, examine_usage
from models.detection.policies.store import check_policies, read_policies
from models.detection.reasoning.detector import Detector, shipped
from models.detection.reasoning.judge import Judge
from models.detection.records import Record
from models.detection.secrets.files import FOLDER, NOTHING, kind_of, need_path
from models.detection.sensor.collect import ALL, Collection, collect, gone, read_log
from models.detection.sensor.samples import samples
from models.detection.sensor.store import Store, UnwritableStoreError, unwritable
from models.detection.session import Session
from models.detection.verdicts import Verdict
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


def store_of(config: DetectConfig, home: Path) -> Path:
    """Return the folder of the store of a data source: each has one of its own."""
    if config.data is None:
        return home / "detection" / "stores" / "samples"
    path = config.data.expanduser().absolute()
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
    data = config.data.expanduser() if config.data else None
    if data is not None:
        _need(data, folder)
    store = Store(folder)
    done, skipped, placed = Collection(), list[str](), set[Path]()
    if data is None:
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
    if not paths:
        why = f": {skipped[0]}" if skipped else ""
        raise DataError(
            f"{data} holds no log of an agent{why}; name a home folder, a log, a folder of logs, "
            "or a file of sessions"
        )
    return Gathered(folder, tuple(map(_stored, paths)), done, tuple(skipped))


def _need(data: Path, folder: Path) -> None:
    if kind_of(data) == NOTHING and folder.is_dir():
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


def examiner_of(config: DetectConfig, judge: Judge | None = None) -> Examiner:
    """Return what a config judges by.

    Args:
        config: Detector, policies and approved servers.
        judge: A language model for what is near the threshold; None: nobody is asked.
    """
    detector = Detector.load(config.detector) if config.detector else shipped()
    policies = read_policies((config.policies,)) if config.policies else read_policies()
    labels = read_labels(config.labels) if config.labels else UNLABELLED
    checks: list[Check] = [partial(check_policies, policies=policies)]
    if labels.confidential:
        checks.append(partial(confidential_to_strangers, labels=labels))
    known = Known(models=detector.spans, approved=frozenset(config.servers) or None)
    return Examiner(
        detector,
        (partial(examine_usage, known=known), *checks),
        policies.digest, judge, config.personas, labels,
    )  # fmt: skip


def key_of(config: DetectConfig, examiner: Examiner) -> str:
    """Return what a verdict depends on besides its session, as a name for a folder."""
    judge = config.judge
    script = Path(judge.removeprefix("scripted:")) if judge.startswith("scripted:") else None
    said = {
        "code": code_digest(), "detector": examiner.detector.digest,
        "policies": examiner.policies, "labels": examiner.labels.digest,
        "personas": config.personas, "servers": config.servers, "judge": judge,
        "script": script.read_text() if script is not None and script.is_file() else "",
    }  # fmt: skip
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return a digest of the program that judges: another one judges everything again."""
    state = hashlib.sha256()
    folder = Path(__file__).parent
    for path in sorted((*folder.rglob("*.py"), *folder.rglob("*.toml"))):
        state.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return state.hexdigest()[:16]


class Kept:
    """Verdicts by the content of their sessions.

    Args:
        folder: Of one key; see `key_of`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, stored: Stored) -> Record | None:
        """Return what was found before; None: it was not examined, or the file is damaged."""
        try:
            return msgspec.json.decode(self._path(stored).read_bytes(), type=Record)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, stored: Stored, record: Record) -> None:
        """Keep what was found, in one step."""
        path = self._path(stored)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{time.monotonic_ns()}.part")
        part.write_bytes(msgspec.json.encode(record))
        part.replace(path)

    def _path(self, stored: Stored) -> Path:
        return self.folder / stored.digest[:2] / f"{stored.digest}.json"


def triage(examiner: Examiner, stored: Stored) -> Record | None:
    """Apply the first tier; None: the session is worth following."""
    began = time.perf_counter()
    session = load(stored)
    try:
        is_passed = examiner.triage(session).is_passed
    except Exception:  # the second tier meets it again, and says what it is
        is_passed = True
    if is_passed:
        return None
    return Record.of(session, examiner.dismissed(session, began), stored.digest)


def investigate(examiner: Examiner, stored: Stored) -> Record:
    """Apply both tiers; a session that cannot be judged is left to a person, with the reason."""
    session = load(stored)
    return Record.of(session, _judged(examiner, session), stored.digest)


def _judged(examiner: Examiner, session: Session) -> Verdict:
    try:
        return examiner.examine(session)
    except Exception as error:  # whatever a record did to a rule, nobody else pays for it
        return examiner.undetermined(session, f"{type(error).__name__}: {error}"[:300])


def partitions(found: Sequence[Stored], size: int) -> list[tuple[Stored, ...]]:
    """Divide sessions for tasks; the same sessions give the same parts."""
    return [tuple(found[at : at + size]) for at in range(0, len(found), size)]

"""What a format's parser does, and how a file is known again."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

from models.detection.secrets.files import FILE, FOLDER, NOTHING, kind_of
from models.detection.sensor.jsonl import BadRecordError, Line, decode, read_lines
from models.detection.session import Session

Change = Literal["unchanged", "grown", "rewritten", "gone"]
"""Of a file since it was read; `rewritten`: what was read is no longer its beginning."""

_HEAD_LINES = 40
_HEAD_BYTES = 1024**2


@dataclass(frozen=True)
class Source:
    """What is read at once: one session, or one database of many.

    Attributes:
        path: Its main file, or the folder of a session of many files.
        files: All files that belong to it; when one changes, all are read again.
    """

    path: Path
    files: tuple[Path, ...]


class TraceParser(Protocol):
    """Reads the logs of one agent program."""

    name: str
    """Of the format, as in `Session.agent`."""

    def sources(self, home: Path, unreadable: list[str] | None = None) -> Iterator[Source]:
        """Give the logs below a user's home folder; they are listed and not opened.

        Args:
            home: The user's home folder.
            unreadable: Takes what stands where a log would, and why it cannot be looked at.
        """
        ...

    def source(self, path: Path) -> Source | None:
        """Return the log at a path, told by what it holds; None: it is of another format."""
        ...

    def read(self, source: Source) -> list[Session]:
        """Read a log; what cannot be read is in `Session.coverage`, nothing is raised for it."""
        ...


class ReadPosition(msgspec.Struct, frozen=True):
    """How far a file was read, and how it is known again.

    Attributes:
        inode: Of the file.
        offset: Bytes that were there.
        modified_ns: When it was written last.
        prefix: SHA-256 of those bytes, hexadecimal.
    """

    inode: int
    offset: int
    modified_ns: int
    prefix: str

    @staticmethod
    def of(path: Path) -> ReadPosition | None:
        """Look at a file as it is now; None: it is not there or cannot be read."""
        try:
            with path.open("rb") as file:
                stat = path.stat()
                return ReadPosition(
                    stat.st_ino, stat.st_size, stat.st_mtime_ns, _hash(file, stat.st_size)
                )
        except OSError:
            return None

    def change(self, path: Path) -> Change:
        """Say what became of the file; one whose size and time are as they were is not opened."""
        try:
            stat = path.stat()
            known = (self.inode, self.offset, self.modified_ns)
            if (stat.st_ino, stat.st_size, stat.st_mtime_ns) == known:
                return "unchanged"
            if stat.st_size < self.offset:
                return "rewritten"
            with path.open("rb") as file:
                if _hash(file, self.offset) != self.prefix:
                    return "rewritten"
        except OSError:
            return "gone"
        return "grown" if stat.st_size > self.offset else "unchanged"


def _hash(file: Any, size: int) -> str:
    sha = hashlib.sha256()
    while size > 0 and (chunk := file.read(min(size, 1024**2))):
        sha.update(chunk)
        size -= len(chunk)
    return sha.hexdigest()


class Head(NamedTuple):
    """The beginning of a file, to tell its format by.

    Attributes:
        records: Objects among its first lines.
        document: The object or array that the whole file is; None: it is none, or a large one.
        start: Its first bytes.
    """

    records: list[dict[str, Any]]
    document: Any
    start: bytes


def head_of(path: Path) -> Head:
    """Look at the beginning of a file; one that cannot be read has none."""
    try:
        with path.open("rb") as file:
            start = file.read(_HEAD_BYTES)
        lines = _first(path)
    except OSError:
        return Head([], None, b"")
    records: list[dict[str, Any]] = []
    for line in lines:
        with suppress(BadRecordError):
            value = decode(line.raw or b"").value
            records += [value] if isinstance(value, dict) else []
    document = None
    if not records and start.lstrip()[:1] in (b"{", b"["):
        with suppress(BadRecordError, OSError):
            document = decode(path.read_bytes() if len(start) == _HEAD_BYTES else start).value
    return Head(records, document, start)


def _first(path: Path) -> list[Line]:
    found: list[Line] = []
    for line in read_lines(path):
        found.append(line)
        if len(found) == _HEAD_LINES or sum(one.bytes for one in found) > _HEAD_BYTES:
            break
    return found


def files_at(
    home: Path, patterns: Sequence[str], unreadable: list[str] | None = None
) -> list[Path]:
    """Return the files below a folder that fit one of the patterns, in order and once each.

    Args:
        home: The folder.
        patterns: Of paths below it; `**` stands for any folders that are no links.
        unreadable: Takes what fits and is no file (a named pipe), or cannot be looked at, with
            why: one such path must not hide its neighbours.
    """
    return _found(home, patterns, FILE, unreadable)


def folders_at(
    home: Path, patterns: Sequence[str], unreadable: list[str] | None = None
) -> list[Path]:
    """Return the folders below a folder that fit one of the patterns; see `files_at`."""
    return _found(home, patterns, FOLDER, unreadable)


def is_file(path: Path) -> bool:
    """Return whether a path is a file that can be read to its end; nothing is raised."""
    return kind_of(path) == FILE


def _found(
    home: Path, patterns: Sequence[str], wanted: str, unreadable: list[str] | None
) -> list[Path]:
    found: dict[Path, None] = {}
    told: dict[str, None] = {}
    for pattern in patterns:
        fitting = []
        for path in _fitting(home, pattern.split("/"), told):
            kind = kind_of(path)
            if kind == wanted:
                fitting.append(path)
            elif kind not in (FILE, FOLDER, NOTHING):
                told[f"{path}: {kind}"] = None
        found.update(dict.fromkeys(sorted(fitting)))
    if unreadable is not None:
        unreadable += [one for one in told if one not in unreadable]
    return list(found)


def _fitting(folder: Path, parts: Sequence[str], told: dict[str, None]) -> Iterator[Path]:
    """Give what fits a pattern; `Path.glob` ends at the first path that it cannot look at."""
    first, *rest = parts
    if first == "**":
        yield from _fitting(folder, rest, told)
        for path in _children(folder, told):
            if not path.is_symlink() and kind_of(path) == FOLDER:
                yield from _fitting(path, parts, told)
        return
    if "*" in first or "?" in first or "[" in first:
        paths = [one for one in _children(folder, told) if fnmatch.fnmatchcase(one.name, first)]
    else:
        paths = [folder / first]
    for path in paths:
        if not rest:
            yield path
            continue
        kind = kind_of(path)
        if kind == FOLDER:
            yield from _fitting(path, rest, told)
        elif kind not in (FILE, NOTHING):
            told[f"{path}: {kind}"] = None


def _children(folder: Path, told: dict[str, None]) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        told[f"{folder}: {error.strerror or error}"] = None
        return []

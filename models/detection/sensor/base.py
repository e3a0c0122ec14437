"""What a format's parser does, and how a file is known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import msgspec

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

    def sources(self, home: Path) -> Iterator[Source]:
        """Give the logs below a user's home folder; they are listed and not opened."""
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


def files_at(home: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files below a folder that fit one of the patterns, in order and once each."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        with suppress(OSError):
            found.update(dict.fromkeys(sorted(p for p in home.glob(pattern) if p.is_file())))
    return list(found)

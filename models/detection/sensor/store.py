"""What was collected: sessions as JSON lines, large texts by their digest, and how far we read.

    sessions/<agent>/<session>.jsonl    one session, one line
    texts/<2 digits>/<sha256>           a text of more than `BIG_TEXT_BYTES`, whole
    aside/<sha256>                      a line that could not be read
    positions.json                      files and how far they were read, written last

Certain credentials are struck out of all of it before it is written. Files are replaced in one
step: after a crash a session is as it was before or as it is now, and is read again if in doubt.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from models.detection.secrets import SecretScanner
from models.detection.secrets.files import pieces
from models.detection.sensor.base import ReadPosition
from models.detection.session import Session
from models.errors import DataError, StorageFullError, is_storage_full

BIG_TEXT_BYTES = 16_384
"""Longer texts go to a file of their own, so that equal outputs are kept once."""

READERS = 2
"""Version of the parsers together: another number, and everything is read anew."""

_REFERENCE = "loom-text:"
_REFERENCE_FORM = re.compile(r"loom-text:([0-9a-f]{64})")
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")
_WINDOW_BYTES, _OVERLAP_CHARS = 8 * 1024**2, 16_384


class _Positions(msgspec.Struct):
    readers: int = READERS
    files: dict[str, dict[str, ReadPosition]] = {}


class Store:
    """A folder of sessions; made when something is put into it.

    Args:
        folder: Only its owner can read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._positions = self._read_positions()

    # ---- sessions

    def put(self, session: Session, *, keep_before: bool = False) -> bool:
        """Keep a session and return whether that changed anything.

        Args:
            session: Struck through first.
            keep_before: What was kept of it stays beside it: its log was rewritten.
        """
        path = self._path(session.agent, session.id)
        values = _each_text(msgspec.to_builtins(session), self._put_text)
        line = msgspec.json.encode(values) + b"\n"
        with contextlib.suppress(OSError):
            known = path.read_bytes()
            if known == line:
                return False
            if keep_before:
                digest = hashlib.sha256(known).hexdigest()[:12]
                self._write(path.with_name(f"{path.stem}.before-{digest}.jsonl"), known)
        self._write(path, line)
        return True

    def get(self, agent: str, id: str) -> Session:
        """Return a session with its texts.

        Raises:
            DataError: It is not here, or is damaged.
        """
        return self.load(self._path(agent, id))

    def sessions(self) -> Iterator[Session]:
        """Give all sessions in order of agents and ids, versions before a rewriting too.

        Raises:
            DataError: One is damaged.
        """
        for path in sorted((self.folder / "sessions").glob("*/*.jsonl")):
            yield self.load(path)

    def load(self, path: Path) -> Session:
        """Return the session of a file of this store.

        Raises:
            DataError: It is not here, or is damaged.
        """
        try:
            values = msgspec.json.decode(path.read_bytes())
        except FileNotFoundError:
            raise DataError(f"there is no session {path}; collect first") from None
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(f"session {path} is damaged ({error}); collect it anew") from None
        return Session.from_json(msgspec.json.encode(_each_text(values, self._get_text)))

    def _path(self, agent: str, id: str) -> Path:
        # Ids come from logs: one may name any path, and two may differ in case alone.
        safe = _SAFE.sub("_", id)[:80].strip(".") or "session"
        digest = hashlib.sha256(id.encode("utf-8", "replace")).hexdigest()[:12]
        return self.folder / "sessions" / _SAFE.sub("_", agent) / f"{safe}-{digest}.jsonl"

    # ---- texts

    def _put_text(self, told: str) -> str:
        clean = redacted(told)
        raw = clean.encode("utf-8", "replace")
        # Who writes a reference of ours into a log gets it back as the text that it is.
        if len(raw) <= BIG_TEXT_BYTES and not clean.startswith(_REFERENCE):
            return clean
        digest = hashlib.sha256(raw).hexdigest()
        path = self.folder / "texts" / digest[:2] / digest
        if not path.exists():
            self._write(path, raw)
        return f"{_REFERENCE}{digest}"

    def _get_text(self, told: str) -> str:
        match = _REFERENCE_FORM.fullmatch(told)
        if match is None:
            return told
        path = self.folder / "texts" / match[1][:2] / match[1]
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise DataError(
                f"text {path} cannot be read ({error.strerror}); remove positions.json and "
                "collect anew"
            ) from None
        if hashlib.sha256(raw).hexdigest() != match[1]:
            raise DataError(f"text {path} is not what was kept; remove it and collect anew")
        return raw.decode()

    def put_aside(self, file: Path, line: int, digest: str) -> None:
        """Keep a line that could not be read, struck through, in bounded memory.

        Args:
            file: Its file.
            line: Its number, from 1.
            digest: SHA-256 of it; its name.
        """
        target = self.folder / "aside" / digest
        if not target.exists():
            with contextlib.suppress(OSError), file.open("rb") as source:
                self._write(target, _redacted_stream(_line(source, line)))

    # ---- positions

    def positions(self, source: Path) -> dict[str, ReadPosition]:
        """Return how far the files of a source were read, by path; empty: never."""
        return self._positions.files.get(str(source), {})

    def set_positions(self, source: Path, positions: dict[str, ReadPosition]) -> None:
        """Remember how far the files of a source were read; `save` writes it."""
        self._positions.files[str(source)] = positions

    def known_sources(self) -> list[Path]:
        """Return all sources that were read before."""
        return [Path(path) for path in self._positions.files]

    def save(self) -> None:
        """Write the positions."""
        raw = msgspec.json.encode(self._positions)
        self._write(self.folder / "positions.json", raw)

    def _read_positions(self) -> _Positions:
        try:
            raw = (self.folder / "positions.json").read_bytes()
            found = msgspec.json.decode(raw, type=_Positions)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return _Positions()  # Everything is read again, and nothing is lost by it.
        return found if found.readers == READERS else _Positions()

    # ---- files

    def _write(self, path: Path, data: bytes | Iterator[bytes]) -> None:
        """Put a file in its place in one step.

        Raises:
            StorageFullError: The disk is full.
        """
        part = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            for folder in (self.folder, path.parent):
                folder.chmod(0o700)
            handle, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
            with os.fdopen(handle, "wb") as file:
                for piece in [data] if isinstance(data, bytes) else data:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException as error:
            if part:
                with contextlib.suppress(OSError):
                    os.unlink(part)
            if isinstance(error, OSError) and is_storage_full(error):
                raise StorageFullError(
                    error.errno, f"no space left in {self.folder}; free some, or use another folder"
                ) from None
            raise


@lru_cache(maxsize=1)
def _scanner() -> SecretScanner:
    # Only forms of providers: what is merely assigned like a credential is evidence of a kind.
    return SecretScanner(names=False)


def redacted(told: str) -> str:
    """Strike the certain credentials out of a text of any length."""
    parts, last = [], 0
    for found in pieces(told, _scanner()):
        parts += [told[last : found.start], f"[{found.rule}:{found.digest}]"]
        last = found.end
    return "".join([*parts, told[last:]]) if parts else told


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    """Change all texts of a value, names in objects too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list | tuple):
        return [_each_text(one, change) for one in value]
    if isinstance(value, dict):
        return {_name(key, change): _each_text(one, change) for key, one in value.items()}
    return value


def _name(key: str, change: Callable[[str], str]) -> str:
    return redacted(key) if len(key) > 12 else key


def _line(file: Any, number: int) -> Iterator[bytes]:
    """Give one line of a file, piece by piece."""
    at = 1
    while chunk := file.readline(_WINDOW_BYTES):
        is_end = chunk.endswith(b"\n")
        if at == number:
            yield chunk.removesuffix(b"\n")
            if is_end:
                return
        at += is_end
        if at > number:
            return


def _redacted_stream(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Strike credentials out of a text that never is in memory whole."""
    held = ""
    for chunk in chunks:
        held += chunk.decode("utf-8", "replace")
        cut = max(0, len(held) - _OVERLAP_CHARS)
        for found in pieces(held, _scanner()):
            if found.start < cut < found.end:
                cut = found.start
        yield redacted(held[:cut]).encode()
        held = held[cut:]
    yield redacted(held).encode()

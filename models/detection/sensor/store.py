"""What was collected: sessions as JSON lines, large texts by their digest, and how far we read.

    sessions/<agent>/<session>.jsonl    one session, one line
    texts/<2 digits>/<sha256>           a text of more than `BIG_TEXT_BYTES`, whole
    aside/<sha256>                      a line that could not be read
    positions.json                      files and how far they were read, whose log a session is

Certain credentials are struck out of all of it before it is written. Files are replaced in one
step: after a crash a session is as it was before or as it is now, and is read again if in doubt.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from models.detection.sensor.base import ReadPosition, files_at, folders_at
from models.detection.sensor.redaction import redacted, redacted_line
from models.detection.session import Session
from models.errors import DataError, StorageFullError, is_storage_full
from models.llm.messages import clean

BIG_TEXT_BYTES = 16_384
"""Longer texts go to a file of their own, so that equal outputs are kept once."""

READERS = 3
"""Version of the parsers together: another number, and everything is read anew."""

_REFERENCE = "loom-text:"
_REFERENCE_FORM = re.compile(r"loom-text:([0-9a-f]{64})")
_BYTES = "bytes:"
_SAFE = re.compile(r"[^A-Za-z0-9._-]+")


class UnwritableStoreError(DataError):
    """Something cannot be kept; the logs are as good as they were."""


def unwritable(path: Path, folder: Path, error: Exception) -> StorageFullError | DataError:
    """Return the error that says why a file cannot be written, and the way out.

    Args:
        path: That could not be written.
        folder: Of the store.
        error: What writing it raised.
    """
    if is_storage_full(error):
        return StorageFullError(
            getattr(error, "errno", None) or errno.ENOSPC,
            f"no space left in {folder}; free some, or use another folder",
        )
    why = getattr(error, "strerror", None) or str(error)
    return UnwritableStoreError(
        f"{path} cannot be written ({why}); make {folder} a folder that you can write to, and move "
        "away what stands in the place of its files"
    )


class _Positions(msgspec.Struct):
    readers: int = READERS
    files: dict[str, dict[str, ReadPosition]] = {}
    owners: dict[str, str] = {}
    """Log that a session was read of first, by the session's place."""


class Store:
    """A folder of sessions; made when something is put into it.

    Args:
        folder: Only its owner can read it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._positions = self._read_positions()

    # ---- sessions

    def claimed(self, session: Session, source: Path) -> Session:
        """Return a session under an id that no other log has; its own, if that is free.

        Ids come from logs, and whoever writes one may take another's: neither replaces the other.

        Args:
            session: As it was read.
            source: Its log.
        """
        owners, id = self._positions.owners, session.id
        digest = hashlib.sha256(str(source).encode("utf-8", "surrogateescape")).hexdigest()[:12]
        while owners.setdefault(self._place(session.agent, id), str(source)) != str(source):
            id = f"{id}~{digest}"
        return session if id == session.id else msgspec.structs.replace(session, id=id)

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
        for path in self.paths():
            yield self.load(path)

    def paths(self, strange: list[str] | None = None) -> list[Path]:
        """Return the files of all sessions in order.

        Args:
            strange: Takes what has a session's name and is no file.
        """
        folder, patterns = self.folder / "sessions", ["*/*.jsonl"]
        if strange is not None:
            strange += [f"{path} is a folder and no session"
                        for path in folders_at(folder, patterns)]  # fmt: skip
        return files_at(folder, patterns, strange)

    def path_of(self, session: Session) -> Path:
        """Return the file that a session is kept in."""
        return self._path(session.agent, session.id)

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

    def _place(self, agent: str, id: str) -> str:
        return self._path(agent, id).relative_to(self.folder / "sessions").as_posix()

    # ---- texts

    def _put_text(self, told: str) -> str:
        struck = clean(redacted(told))  # Names of files may be no UTF-8.
        raw = struck.encode()
        # Who writes a reference of ours into a log gets it back as the text that it is.
        if len(raw) <= BIG_TEXT_BYTES and not struck.startswith(_REFERENCE):
            return struck
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
                self._write(target, redacted_line(source, line))

    # ---- positions

    def positions(self, source: Path) -> dict[str, ReadPosition]:
        """Return how far the files of a source were read, by path; empty: never."""
        return self._positions.files.get(str(source), {})

    def set_positions(self, source: Path, positions: dict[str, ReadPosition]) -> None:
        """Remember how far the files of a source were read; `save` writes it."""
        self._positions.files[str(source)] = positions

    def known_sources(self) -> list[Path]:
        """Return all sources that were read before."""
        return [Path(path) for path in {**self._positions.files, **self._sources()}]

    def _sources(self) -> dict[str, None]:
        return dict.fromkeys(self._positions.owners.values())

    def save(self) -> None:
        """Write the positions."""
        files = {
            _written(source): {_written(file): at for file, at in positions.items()}
            for source, positions in self._positions.files.items()
        }
        owners = {place: _written(source) for place, source in self._positions.owners.items()}
        raw = msgspec.json.encode(_Positions(READERS, files, owners))
        self._write(self.folder / "positions.json", raw)

    def _read_positions(self) -> _Positions:
        try:
            raw = (self.folder / "positions.json").read_bytes()
            found = msgspec.json.decode(raw, type=_Positions)
        except (OSError, msgspec.DecodeError, msgspec.ValidationError):
            return _Positions()  # Everything is read again, and nothing is lost by it.
        is_same = found.readers == READERS
        files = {
            _read(source): {_read(file): at for file, at in positions.items() if is_same}
            for source, positions in found.files.items()
        }
        return _Positions(READERS, files, {k: _read(v) for k, v in found.owners.items()})

    # ---- files

    def _write(self, path: Path, data: bytes | Iterator[bytes]) -> None:
        """Put a file in its place in one step.

        Raises:
            StorageFullError: The disk is full.
            UnwritableStoreError: It is not ours to write, or something stands in the place.
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
            if isinstance(error, OSError):
                raise unwritable(path, self.folder, error) from None
            raise


def _written(path: str) -> str:
    """Return a path as it can be written: one that is no UTF-8 by its bytes."""
    return path if path == clean(path) else f"{_BYTES}{os.fsencode(path).hex()}"


def _read(path: str) -> str:
    return os.fsdecode(bytes.fromhex(path[len(_BYTES) :])) if path.startswith(_BYTES) else path


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

"""Files that records are appended to: length and CRC in front of each, a torn tail is cut off.

A record is one `write` call, so a killed process loses nothing that it had appended; `fsync`,
which a failing machine asks for, follows every so many records or seconds.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from models.errors import DatasetUnreadableError, StorageFullError, is_storage_full

MAGIC = b"LOOMJRN1"
SUFFIX = ".segment"
KEY_BYTES = 16
_FRAME = Struct("<II")  # bytes of key and body, CRC-32 of both
MAX_RECORD_BYTES = 256 * 1024**2
"""A longer length is damage, not a record."""


class Place(NamedTuple):
    """Where the body of a record lies."""

    file: Path
    offset: int
    size: int


@dataclass
class Scan:
    """What reading a segment found beside its records.

    Attributes:
        end: First byte after the last good record.
        damaged: Records whose CRC does not fit and that others follow.
    """

    end: int = len(MAGIC)
    damaged: int = 0


def scan_segment(file: Path, scan: Scan) -> Iterator[tuple[bytes, Place, bytes]]:
    """Yield key, place and body of every good record; one that is damaged is passed over.

    Raises:
        DatasetUnreadableError: The file is no segment.
    """
    with file.open("rb") as source:
        begin = source.read(len(MAGIC))
        if not MAGIC.startswith(begin):
            raise DatasetUnreadableError(
                f"{file} is no segment of a journal (it begins with {begin!r}); move it away"
            )
        offset, suspect = len(MAGIC), 0
        while len(frame := source.read(_FRAME.size)) == _FRAME.size:
            length, crc = _FRAME.unpack(frame)
            if not KEY_BYTES <= length <= MAX_RECORD_BYTES:
                return
            data = source.read(length)
            if len(data) < length:
                return
            begin_at, offset = offset, offset + _FRAME.size + length
            if zlib.crc32(data) != crc:
                suspect += 1
                continue
            # A bad record at the very end is a torn one, before a good one it is damage.
            scan.damaged, suspect = scan.damaged + suspect, 0
            scan.end = offset
            body_at = begin_at + _FRAME.size + KEY_BYTES
            yield data[:KEY_BYTES], Place(file, body_at, length - KEY_BYTES), data[KEY_BYTES:]


class SegmentWriter:
    """Appends records to a new file of its own; two writers never share one.

    Args:
        folder: Of the journal.
        name: Of the writer, such as `shard-0-try-1`.
        flush_rows: Records between two `fsync`.
        flush_s: Seconds between two, whichever comes first.

    Raises:
        StorageFullError: No room; what was appended before is kept.
    """

    def __init__(self, folder: Path, name: str, flush_rows: int, flush_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}-{time.time_ns():020d}-{os.getpid()}{SUFFIX}"
        self._flush_rows, self._flush_s = flush_rows, flush_s
        self._pending, self._flushed_at = 0, time.monotonic()
        self._end = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._descriptor = os.open(self.file, flags, 0o644)
        self._write(MAGIC)

    def append(self, key: bytes, body: bytes) -> None:
        """Add a record; it survives this process from here on."""
        data = key + body
        self._write(_FRAME.pack(len(data), zlib.crc32(data)) + data)
        self._pending += 1
        due_s = self._flushed_at + self._flush_s
        if self._pending >= self._flush_rows or time.monotonic() >= due_s:
            self.flush()

    def flush(self) -> None:
        """Make what was appended survive a failing machine."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise self._told(error) from error
        self._pending, self._flushed_at = 0, time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        if self._descriptor >= 0:
            try:
                self.flush()
            finally:
                os.close(self._descriptor)
                self._descriptor = -1

    def _write(self, data: bytes) -> None:
        try:
            done = os.write(self._descriptor, data)
            while done < len(data):  # a disk that fills up takes a part
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            # What follows must not stand behind half a record.
            os.ftruncate(self._descriptor, self._end)
            raise self._told(error) from error
        self._end += len(data)

    def _told(self, error: OSError) -> Exception:
        if not is_storage_full(error):
            return error
        return StorageFullError(
            f"no space left for the journal in {self.file.parent}; free some and start the job "
            "again, it goes on where it stopped"
        )

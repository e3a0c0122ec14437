"""What a job has finished so far, by row key; survives kills, crashes and full disks."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path

import orjson

from models.inference.outcome import Finished, decode_outcome, encode_outcome, is_error
from models.inference.segments import SUFFIX, Place, Scan, SegmentWriter, scan_segment

FORGOTTEN = "forgotten"
"""Begins the names of segments that only say which failures no longer count."""


@dataclass
class Journal:
    """All segments of a folder, read once.

    Attributes:
        folder: Where they lie.
        places: Where each finished row's record lies, by row key; the first one counts.
        failed: Keys of rows that finished with an error.
        doubles: Records of keys that had one already: work done twice.
        damaged: Records whose CRC did not fit; their rows run again.
        torn: Segments whose unfinished last record was cut off.
    """

    folder: Path
    places: dict[bytes, Place] = field(default_factory=dict)
    failed: set[bytes] = field(default_factory=set)
    doubles: int = 0
    damaged: int = 0
    torn: int = 0
    _failures: dict[bytes, list[Place]] = field(default_factory=dict, repr=False)
    _forgotten: set[tuple[str, int]] = field(default_factory=set, repr=False)
    _maps: dict[Path, mmap] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, folder: Path) -> Journal:
        """Read a journal and cut off torn tails; nobody may be writing to it.

        Raises:
            DatasetUnreadableError: A file in it is no segment.
        """
        journal = cls(folder)
        for file in _segments(folder):
            scan = journal._take_in(file)
            if scan.end < file.stat().st_size:
                journal.torn += 1
                with file.open("r+b") as segment:
                    segment.truncate(scan.end)
                    os.fsync(segment.fileno())
        return journal

    @classmethod
    def look(cls, folder: Path) -> Journal:
        """Read a journal that others may write to at this moment; cuts nothing off."""
        journal = cls(folder)
        for file in _segments(folder):
            journal._take_in(file)
        return journal

    def writer(self, name: str, flush_rows: int, flush_s: float) -> JournalWriter:
        """Open a segment to append to."""
        return JournalWriter(SegmentWriter(self.folder, name, flush_rows, flush_s))

    def read(self, key: bytes) -> Finished | None:
        """Return what a row gave, or None if it has not finished."""
        place = self.places.get(key)
        return None if place is None else decode_outcome(self._body(place))

    def forget_failures(self) -> int:
        """Leave failed rows out, so that they run again; returns how many.

        It is written down: whoever opens the journal from now on finds these rows open. Nobody
        may be writing to it.

        Raises:
            StorageFullError: No room for it.
        """
        if not self.failed:
            return 0
        segment = SegmentWriter(self.folder, FORGOTTEN, flush_rows=1_000_000, flush_s=math.inf)
        try:
            for key in sorted(self.failed):
                for place in self._failures.pop(key):
                    segment.append(key, orjson.dumps([place.file.name, place.offset]))
                del self.places[key]
        finally:
            segment.close()
        n_failed = len(self.failed)
        self.failed.clear()
        return n_failed

    def outcomes(self) -> Iterator[Finished]:
        """Yield everything that counts, segment by segment."""
        for place in self.places.values():
            yield decode_outcome(self._body(place))

    def _body(self, place: Place) -> bytes:
        if place.file not in self._maps:
            # Mapped: a merge reads records in the order of the input, not of the file.
            with place.file.open("rb") as file:
                self._maps[place.file] = mmap(file.fileno(), 0, access=ACCESS_READ)
        return self._maps[place.file][place.offset : place.offset + place.size]

    def _take_in(self, file: Path) -> Scan:
        scan = Scan()
        says_forgotten = file.name.startswith(f"{FORGOTTEN}-")
        for key, place, body in scan_segment(file, scan):
            if says_forgotten:
                name, offset = orjson.loads(body)
                self._forgotten.add((name, offset))
                continue
            if (file.name, place.offset) in self._forgotten:
                continue
            if is_error(body):
                self._failures.setdefault(key, []).append(place)
            if key not in self.places:
                self.places[key] = place
                if is_error(body):
                    self.failed.add(key)
            elif key in self.failed and not is_error(body):
                # It was asked to run again, and succeeded.
                self.places[key] = place
                self.failed.discard(key)
            elif key not in self.failed:
                self.doubles += 1
        self.damaged += scan.damaged
        return scan


def _segments(folder: Path) -> list[Path]:
    """Files of a journal; what is forgotten comes first."""
    files = folder.glob(f"*{SUFFIX}")
    return sorted(files, key=lambda file: (not file.name.startswith(f"{FORGOTTEN}-"), file.name))


class JournalWriter:
    """Appends outcomes to one segment."""

    def __init__(self, segment: SegmentWriter) -> None:
        self._segment = segment
        self.rows = 0
        """Rows appended so far."""

    def add(self, key: bytes, outcome: Finished) -> None:
        """Append what a row gave.

        Raises:
            StorageFullError: No room for it.
        """
        self._segment.append(key, encode_outcome(outcome))
        self.rows += 1

    def flush(self) -> None:
        """Make it survive a failing machine."""
        self._segment.flush()

    def close(self) -> None:
        """Flush and close."""
        self._segment.close()

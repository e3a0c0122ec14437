"""Keeps the head and the tail of an output in memory and the whole of a long one in a file."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from models.sandbox.outputs import OutputFile, Outputs


@dataclass(frozen=True)
class Captured:
    """What an output has come to.

    Attributes:
        text: Head and tail, with a note between them where something was cut.
        total_bytes: Length of the whole.
        file: The whole, where something was cut.
    """

    text: str
    total_bytes: int
    file: Path | None


class Capture:
    """Takes an output piece by piece.

    Args:
        cap_bytes: What is kept in memory, half of it head, half tail.
        outputs: Where a longer output is written as a whole.
        most_file_bytes: Of that file; what comes later is only counted.
    """

    def __init__(
        self, cap_bytes: int, outputs: Outputs, most_file_bytes: int | None = None
    ) -> None:
        self._head_cap = cap_bytes // 2
        self._tail_cap = cap_bytes - self._head_cap
        self._outputs = outputs
        self._most_file_bytes = most_file_bytes
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._file: OutputFile | None = None
        self._path: Path | None = None
        self.total_bytes = 0

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        if not piece:
            return
        if self._file is None and self.total_bytes + len(piece) > self._head_cap + self._tail_cap:
            self._open()
        self._write(piece)
        self.total_bytes += len(piece)
        room = self._head_cap - len(self._head)
        if room > 0:
            self._head += piece[:room]
            piece = piece[room:]
        if piece:
            self._tail.append(piece)
            self._tail_bytes += len(piece)
            while self._tail_bytes - len(self._tail[0]) >= self._tail_cap:
                self._tail_bytes -= len(self._tail.popleft())

    def _open(self) -> None:
        self._file = self._outputs.begin()
        self._path = self._file.path
        self._file.write(bytes(self._head) + b"".join(self._tail))

    def _write(self, piece: bytes) -> None:
        if self._file is None:
            return
        if self._most_file_bytes is not None:
            piece = piece[: max(0, self._most_file_bytes - self.total_bytes)]
        self._file.write(piece)

    def seen(self) -> Captured:
        """Return what there is so far."""
        if self._file is not None:
            self._file.flush()
        tail = b"".join(self._tail)
        if self._path is None:
            return Captured(
                (bytes(self._head) + tail).decode(errors="replace"), self.total_bytes, None
            )
        tail = tail[-self._tail_cap :]
        cut = self.total_bytes - len(self._head) - len(tail)
        note = f"\n[... {cut:,} of {self.total_bytes:,} bytes cut; all of it: {self._path} ...]\n"
        head = bytes(self._head).decode(errors="ignore")
        return Captured(head + note + tail.decode(errors="ignore"), self.total_bytes, self._path)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

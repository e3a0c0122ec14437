"""Long outputs as a whole, in a folder of one sandbox that only it and its commands may read.

The folder is locked as long as its process lives, so that what a killed one left is known.
"""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

_PREFIX = "loom-saved-"


class Mask(Protocol):
    """Takes a text in pieces and gives it without what nobody may read."""

    def feed(self, text: str) -> str:
        """Take a piece and return what can be written now."""

    def end(self) -> str:
        """Return what was held back."""


MakeMask: TypeAlias = Callable[[], Mask]


class OutputFile:
    """A file that one output is written to.

    Attributes:
        path: Where it lies.
    """

    def __init__(self, descriptor: int, path: Path, masks: Sequence[Mask]) -> None:
        self._file = os.fdopen(descriptor, "wb")
        self._masks = masks
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.path = path

    def write(self, piece: bytes) -> None:
        """Append a piece, masked."""
        if self._masks:
            text = self._decoder.decode(piece)
            for mask in self._masks:
                text = mask.feed(text)
            piece = _bytes(text)
        self._file.write(piece)

    def flush(self) -> None:
        """Let others read what was written; what may be the beginning of a secret waits."""
        self._file.flush()

    def close(self) -> None:
        """Write what was held back."""
        if self._masks:
            text = self._decoder.decode(b"", final=True)
            for mask in self._masks:
                text = mask.feed(text) + mask.end()
            self._file.write(_bytes(text))
        self._file.close()


class Outputs:
    """The folder of a sandbox.

    Args:
        reader: Tells the number of the group, beside us, that may read: that of commands.

    Attributes:
        path: The folder.
    """

    def __init__(self, reader: Callable[[], int | None]) -> None:
        sweep()
        self._reader = reader
        self._masks: dict[MakeMask, None] = {}
        # Under another name until it is locked: nobody may take it for left over.
        made = Path(tempfile.mkdtemp(prefix=f".{_PREFIX}"))
        self._lock = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.path = made.rename(made.with_name(made.name[1:]))

    def hide(self, make_mask: MakeMask) -> None:
        """Pass outputs that begin from now on through a mask, too."""
        self._masks[make_mask] = None

    def begin(self) -> OutputFile:
        """Make a file for an output."""
        descriptor, name = tempfile.mkstemp(prefix="output-", suffix=".txt", dir=self.path)
        if (reader := self._reader()) is not None:
            for place, mode in ((self._lock, 0o750), (descriptor, 0o640)):
                os.fchown(place, -1, reader)
                os.fchmod(place, mode)
        return OutputFile(descriptor, Path(name), [make() for make in self._masks])

    def close(self) -> None:
        """Remove the folder; once."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep() -> None:
    """Remove the folders of processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # Somebody else's, or that of a process that lives: it stays.
        with contextlib.suppress(OSError):
            if path.lstat().st_uid != os.geteuid():
                continue
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(path, flags)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            finally:
                os.close(descriptor)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")

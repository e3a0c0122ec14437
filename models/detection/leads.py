"""How much each result that was read leads an agent away, kept between the calls of a hook.

A hook is a process of its own at each call, and reading results by sentences is what it spends its
time on. What is kept is a number by the SHA-256 of a text: no text, nothing of a place in a
transcript. So a transcript that grows costs what is new in it, one that was rewritten costs what
was rewritten, and a file that is gone or damaged costs time and changes no judgement.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from models.detection.reasoning.detector import SHIPPED

_LARGEST_BYTES = 8 * 1024**2
"""Of the file, some 190,000 results; a larger one is begun anew."""
_DIGITS = 32
_CODE = ("triage", "dataflow", "intent", "pending.py")
"""What decides how a text is read, besides the detector's file."""


class Leads:
    """Numbers in [0, 1] by text, in a file of one line each.

    Args:
        file: It need not be there; its folder is made when something is kept.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, float] = {}
        self._new: dict[str, float] = {}
        with suppress(OSError):
            if file.is_file():
                self._read(file.read_bytes())

    def of(self, text: str) -> float | None:
        """Return what is kept of a text; None: nothing is."""
        return self._known.get(_digest(text))

    def keep(self, text: str, leads: float) -> None:
        """Take what a text has; `save` writes it."""
        digest = _digest(text)
        if digest not in self._known:
            self._known[digest] = self._new[digest] = leads

    def save(self) -> None:
        """Write what is new behind the rest; where that cannot be done it is read again later."""
        if not self._new:
            return
        lines = "".join(f"{digest} {leads:.17g}\n" for digest, leads in self._new.items())
        with suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            is_full = self._file.exists() and self._file.stat().st_size > _LARGEST_BYTES
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if is_full else os.O_APPEND)
            descriptor = os.open(self._file, flags, 0o600)
            try:
                # One write, led by a line end: hooks run side by side, and a cut line is skipped.
                os.write(descriptor, f"\n{lines}".encode())
            finally:
                os.close(descriptor)
            self._new.clear()

    def _read(self, raw: bytes) -> None:
        for line in raw.decode("ascii", "replace").splitlines():
            digest, _, number = line.partition(" ")
            with suppress(ValueError):
                leads = float(number)
                if len(digest) == _DIGITS and 0.0 <= leads <= 1.0:
                    self._known[digest] = leads


def leads_in(home: Path) -> Leads:
    """Return what is kept below LOOM_HOME for the shipped detector and this program."""
    return Leads(home / "detection" / "hook" / f"leads-{_version()}.txt")


@lru_cache(maxsize=1)
def _version() -> str:
    """Return a digest of all that decides how a text is read: another one reads all anew."""
    state = hashlib.sha256(SHIPPED.read_bytes())
    room = Path(__file__).parent
    for name in _CODE:
        for file in sorted(room.joinpath(name).glob("*.py")) or [room / name]:
            state.update(file.read_bytes())
    return state.hexdigest()[:16]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]

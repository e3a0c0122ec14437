"""Signs of life of an engine process: a file that it writes anew every second."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from models.inference.backends.base import Counters, Watch

BEAT_S = 1.0


@dataclass(frozen=True)
class Beat:
    """What an engine process says of itself.

    Attributes:
        at: Seconds since 1970.
        phase: `load`, `run` or `done`.
        rows, failed: Rows that finished in this process; of them, with an error.
        output_tokens: Tokens that they emitted.
        counters: Work so far.
    """

    at: float
    phase: str
    rows: int
    failed: int
    output_tokens: int
    counters: Counters


@dataclass
class Tally:
    """Rows that a process has finished."""

    rows: int = 0
    failed: int = 0
    output_tokens: int = 0


class Heart:
    """Writes beats from a thread of its own until it is stopped.

    An engine process whose parent died stops as on SIGTERM: nobody would collect its work,
    and the next start of the job must find nobody writing.
    """

    def __init__(self, file: Path, watch: Watch, tally: Tally, parent: int) -> None:
        self._file, self._watch, self._tally = file, watch, tally
        self._parent = parent
        self._is_done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Heart:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_done.set()
        self._thread.join()
        self.beat()

    def beat(self) -> None:
        """Write one beat."""
        self._watch.counters.cpu_s = time.process_time()
        beat = Beat(time.time(), self._watch.phase, **asdict(self._tally), counters=Counters())
        values = {**asdict(beat), "counters": asdict(self._watch.counters)}
        draft = self._file.with_suffix(".draft")
        try:
            draft.write_bytes(orjson.dumps(values))
            os.replace(draft, self._file)
        except OSError:
            return  # a full disk is told by the journal

    def _run(self) -> None:
        while not self._is_done.wait(BEAT_S):
            if os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGTERM)
            self.beat()


def read_beat(file: Path) -> Beat | None:
    """Return the last beat, or None before the first."""
    try:
        values = orjson.loads(file.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    return Beat(**{**values, "counters": Counters(**values["counters"])})

"""Our side of a pseudo-terminal: reading, typing, and its settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import termios
import threading
import time
from pathlib import Path

_ROWS, _COLUMNS = 50, 160
_READ_BYTES = 65_536

_LONGEST_POLL_S = 3600.0
"""`poll` takes no more than 2**31 ms."""


class Terminal:
    """A pseudo-terminal without echo that leaves line ends as programs write them.

    Args:
        owner: Number of the user that must be able to open it, where it is another than ours.
        for_people: With echo and line ends, as a screen wants them.
    """

    def __init__(self, owner: int | None = None, *, for_people: bool = False) -> None:
        self._master, slave = os.openpty()
        os.set_inheritable(self._master, False)
        os.set_blocking(self._master, False)
        self.path = os.ttyname(slave)
        self._slave = slave
        os.chmod(self.path, 0o600)
        if owner is not None:
            os.chown(self.path, owner, -1)
        settings = termios.tcgetattr(slave)
        if not for_people:
            settings[1] &= ~termios.OPOST
            settings[3] &= ~(termios.ECHO | termios.ECHOCTL)
        self._settings = settings
        self.restore()
        self._resize(_ROWS, _COLUMNS)
        # Between who types and who closes: a closed number may soon be another file's.
        self._lock = threading.Lock()
        self._is_closed = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._master, select.POLLIN)
        self._poll.register(self._wake_read, select.POLLIN)

    def _resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, rows: int, columns: int) -> None:
        """Tell programs how large the screen is now."""
        with self._lock:
            if not self._is_closed:
                self._resize(rows, columns)

    def begun(self) -> None:
        """Let go of the other side: reading ends when its last program has ended."""
        os.close(self._slave)
        self._slave = -1

    def restore(self) -> None:
        """Undo what programs did to the settings."""
        # EIO: the other side has ended; the reader is about to say so.
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self._master, termios.TCSANOW, self._settings)

    def write(self, data: bytes) -> None:
        """Type; what a program does not read is lost after some thousand bytes."""
        end = time.monotonic() + 1.0
        while data and time.monotonic() < end:
            with self._lock:
                if self._is_closed:
                    return
                try:
                    data = data[os.write(self._master, data) :]
                    continue
                except BlockingIOError:
                    pass
                except OSError:
                    return
            time.sleep(0.01)

    def read(self, deadline: float | None) -> bytes | None:
        """Wait for output: what came; None at the deadline, when woken or now and then; empty at
        the end.
        """
        left = None
        if deadline is not None:
            left = 1000 * max(0.0, min(deadline - time.monotonic(), _LONGEST_POLL_S))
        for descriptor, _ in self._poll.poll(left):
            if descriptor == self._wake_read:
                os.read(self._wake_read, 4096)
                continue
            try:
                return os.read(self._master, _READ_BYTES)
            except BlockingIOError:
                return None
            except OSError:
                # EIO: every program has closed the other side.
                return b""
        return None

    def wake(self) -> None:
        """Let `read` come back, because the deadline has changed."""
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._is_closed:
                os.write(self._wake_write, b"x")

    def foreground(self) -> set[int]:
        """Find the processes that the terminal's keys go to."""
        try:
            group = os.tcgetpgrp(self._master)
        except OSError:
            return set()
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                words = stat.read_text(errors="replace").rpartition(")")[2].split()
                if int(words[2]) == group:
                    found.add(int(stat.parent.name))
        return found

    def close(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._is_closed = True
            for descriptor in (self._master, self._slave, self._wake_read, self._wake_write):
                if descriptor >= 0:
                    os.close(descriptor)

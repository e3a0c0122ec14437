"""Who may run a conversation: one owner at a time, fenced by a generation.

The generation is compared inside every commit. An owner that was thought dead and comes back
finds a later one and cannot append; see Kleppmann, "How to do distributed locking" (2016).
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

TTL_S = 60.0
"""An owner on another host that committed nothing for so long counts as dead. On this host its
process is looked at, so a long model call loses no lease."""


@dataclass(frozen=True)
class Owner:
    """A process that runs a conversation."""

    pid: int
    host: str
    started: str
    """Start time of the process in clock ticks: a pid is used again after a while."""
    nonce: str
    """Two logs in one process are two owners."""

    @classmethod
    def here(cls) -> Owner:
        """Describe this process."""
        return cls(os.getpid(), _host(), _start_of(os.getpid()), os.urandom(8).hex())

    def to_json(self) -> str:
        """Write the owner."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def from_json(cls, raw: str) -> Owner:
        """Read what `to_json` wrote."""
        return cls(**orjson.loads(raw))

    def is_alive(self, renewed: float) -> bool:
        """Whether it still runs, or may.

        Args:
            renewed: When it committed last, in seconds since 1970.
        """
        if self.host == _host():
            start = _start_of(self.pid)
            return bool(start) and start == self.started
        return time.time() - renewed < TTL_S


def _host() -> str:
    # Containers on one machine share a boot id and may share a name, but never both with a
    # pid namespace of the same number.
    try:
        return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _start_of(pid: int) -> str:
    """Return the start time of a process in clock ticks; empty when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except PermissionError:
            return "unknown"
        return "unknown"
    fields = text.rpartition(")")[2].split()
    # A zombie holds its number and nothing else.
    return "" if fields[0] in "ZX" else fields[19]

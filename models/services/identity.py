"""Know a process again: its id may be given to another one, its start time may not."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from models.services.guard import parents


@dataclass(frozen=True)
class ProcessId:
    """A process id and the moment the process was created."""

    pid: int
    created: str
    """Clock ticks from boot to creation, and which boot (Linux); else seconds since 1970."""

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """Describe a process; one that is gone already never counts as alive."""
        return cls(pid, creation_time(pid) or "gone")

    def is_alive(self) -> bool:
        """Tell whether this very process still runs; a zombie does not."""
        return creation_time(self.pid) == self.created

    def send(self, signum: int) -> bool:
        """Send a signal, unless the process is gone; return whether it was sent."""
        if not self.is_alive():
            return False
        try:
            os.kill(self.pid, signum)
        except ProcessLookupError:
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process is gone; return whether it is."""
        deadline = time.monotonic() + timeout_s
        while self.is_alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True


def creation_time(pid: int) -> str | None:
    """Return when a process was created, or None when it does not run (any more)."""
    if Path("/proc/self/stat").exists():
        # psutil would do, but costs every `loom` command 20 ms, and its seconds shift with
        # the clock; ticks since boot do not.
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{fields[19]} of {_boot()}"
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def kill_tree(root: ProcessId) -> None:
    """SIGKILL a process and everything below it, by process id."""
    import psutil

    try:
        process = psutil.Process(root.pid)
        # The root last: were it gone first, its children would have another parent. Again
        # and again, for one of them may have started another since we looked.
        while root.is_alive():
            below = process.children(recursive=True)
            doomed = below or [process]
            for one in doomed:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            psutil.wait_procs(doomed, timeout=1)
    except psutil.NoSuchProcess:
        return


def kill_session(leader: ProcessId) -> None:
    """SIGKILL what is left of the session of a leader that we saw alive a moment ago."""
    if creation_time(leader.pid) not in (None, leader.created):
        return  # the id belongs to somebody else by now
    for pid, _ in parents():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader.pid:
                os.kill(pid, signal.SIGKILL)


@lru_cache(maxsize=1)
def _boot() -> str:
    """Name this boot: machines that boot alike give the same process the same ticks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "this boot"

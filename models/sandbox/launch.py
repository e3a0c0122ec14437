"""Starting a process whose confinement a thread of ours puts on first.

Mount namespaces, users, Landlock and seccomp belong to a thread on Linux, and a child inherits
them from the thread that starts it. So each process is started by a thread of its own, which
confines itself, spawns, and waits. That needs no code between fork and exec, which would be
unsafe in a process with threads, and `posix_spawn` does not copy our memory.

The thread must live as long as the child: "die with parent" means the starting thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.sandbox.base import SandboxError
from models.sandbox.kernel import CLONE_FS, set_dumpable, unshare_thread

_RESERVED_FDS = 200
"""Descriptors of a child lie below this, ours that it takes them from above."""

_RESET_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGXFSZ)


@dataclass(frozen=True)
class Launch:
    """A process to start.

    Attributes:
        argv: Command line, the program by its path as the confined thread sees it.
        env: Its whole environment.
        cwd: Its folder.
        fds: Descriptor of the child to ours; no other is inherited.
        tty: Path of a terminal that becomes its controlling one, and the descriptors it gets.
        confine: What the starting thread does to itself first.
        begun: What the starting thread, confined as it is, does with the new process.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: str
    fds: Mapping[int, int] = field(default_factory=dict)
    tty: tuple[str, Sequence[int]] | None = None
    confine: Callable[[], None] | None = None
    begun: Callable[[int], None] | None = None


class Child:
    """A process that we started, with the thread that waits for it."""

    def __init__(self, launch: Launch) -> None:
        """Start it.

        Raises:
            SandboxError: The confinement or the program could not be put to work.
        """
        self._launch = launch
        self._lock = threading.Lock()
        self._begun, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._status: int | None = None
        self.pid = 0
        name = f"loom-{os.path.basename(launch.argv[0])}"
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()
        self._begun.wait()
        if isinstance(self._failure, SandboxError):
            raise self._failure
        if self._failure is not None:
            raise SandboxError(
                f"could not start {launch.argv[0]} in {launch.cwd}: {self._failure}"
            ) from self._failure

    def _live(self) -> None:
        try:
            self.pid = self._spawn()
            if self._launch.begun is not None:
                self._launch.begun(self.pid)
        except BaseException as error:
            self._failure = error
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self._begun.set()
            return
        self._begun.set()
        _wait_until_ended(self.pid)
        with self._lock:
            # Reaped under the lock: after this the number may belong to another process.
            _, status = os.waitpid(self.pid, 0)
            self._status = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def _spawn(self) -> int:
        launch = self._launch
        high: list[int] = []
        try:
            for ours in launch.fds.values():
                high.append(fcntl.fcntl(ours, fcntl.F_DUPFD_CLOEXEC, _RESERVED_FDS))
            actions: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_DUP2, source, target)
                for source, target in zip(high, launch.fds, strict=True)
            ]
            # First: some were left inheritable by whoever started us, and belong to nobody here.
            actions[:0] = [(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()]
            if launch.tty is not None:
                path, targets = launch.tty
                # The first terminal that the leader of a new session opens becomes its own.
                actions += [(os.POSIX_SPAWN_OPEN, fd, path, os.O_RDWR, 0) for fd in targets]
            # A folder of this thread's own: the others keep theirs.
            unshare_thread(CLONE_FS)
            os.umask(0o022)
            if launch.confine is not None:
                launch.confine()
            os.chdir(launch.cwd)
            try:
                return os.posix_spawn(
                    launch.argv[0],
                    list(launch.argv),
                    dict(launch.env),
                    file_actions=actions,
                    setsid=True,
                    setsigmask=[],
                    setsigdef=_RESET_SIGNALS,
                )
            finally:
                set_dumpable()
        finally:
            for descriptor in high:
                os.close(descriptor)

    @property
    def exit_code(self) -> int | None:
        """As a shell reports it, 128 + N for signal N; None while it runs."""
        status = self._status
        return status if status is None or status >= 0 else 128 - status

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end; None when it still runs after the time given."""
        self._ended.wait(timeout_s)
        return self.exit_code

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send it a signal; nothing happens when it has ended."""
        with self._lock:
            if self._status is None and self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)


def _inheritable() -> list[int]:
    """List our open descriptors beyond the streams that a child would get."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
    return found


def _wait_until_ended(pid: int) -> None:
    while True:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except InterruptedError:
            continue
        return


@dataclass(frozen=True)
class _Entry:
    pid: int
    parent: int
    session: int
    started: int


def _entries() -> list[_Entry]:
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The name in brackets may hold anything, so count from its end.
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if words[0] not in (b"Z", b"X"):
            found.append(_Entry(int(name), int(words[1]), int(words[3]), int(words[19])))
    return found


def tree_of(root: int, mark: str | None = None) -> list[int]:
    """Find a process's descendants, its session, and whatever carries a mark.

    Args:
        root: Process at the top; not part of the answer.
        mark: `NAME=value` in the environment of processes that left the tree
            (daemons are children of process 1).

    Returns:
        Process ids, oldest first.
    """
    entries = sorted(_entries(), key=lambda entry: (entry.started, entry.pid))
    members = {root}
    # Parents are older than children, except after a wrap of the process numbers.
    for _ in range(2):
        members |= {e.pid for e in entries if e.parent in members or e.session == root}
    if mark is not None:
        members |= {e.pid for e in entries if e.pid not in members and _carries(e.pid, mark)}
    members -= {root, os.getpid()}
    return [entry.pid for entry in entries if entry.pid in members]


def marked(mark: str) -> list[int]:
    """Find the processes whose environment holds `NAME=value`."""
    return [entry.pid for entry in _entries() if _carries(entry.pid, mark)]


def _carries(pid: int, mark: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark.encode() in file.read().split(b"\0")
    except OSError:
        return False


def kill_all(find: Callable[[], Iterable[int]], timeout_s: float = 2.0) -> bool:
    """Kill processes until none is found: a tree may grow while we look.

    Returns:
        Whether none was left.
    """
    end = time.monotonic() + timeout_s
    while True:
        victims = list(find())
        if not victims:
            return True
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError as error:
                if error.errno not in (errno.ESRCH, errno.EPERM):
                    raise
        if time.monotonic() > end:
            return False
        time.sleep(0.005)

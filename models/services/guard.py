"""Runs between us and a server, so that nothing it starts can outlive us (stdlib only).

`python -I -S guard.py PARENT_PID GRACE_S [--stdin] COMMAND...` starts the command and ends its
whole tree when asked to (SIGTERM), when the parent dies (even by `kill -9`) or when the command
itself ends. On Linux the guard is a "child subreaper": a process that detaches itself, as
Prefect's worker does with every flow run, becomes a child of the guard and not of init.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
KEEPS_STDIN = "--stdin"
"""Before the command: it reads what the guard was given to read, for servers on pipes."""
IS_LINUX = sys.platform.startswith("linux")


def prctl(option: int, value: int) -> None:
    """Set a process attribute on Linux; elsewhere nothing happens."""
    if IS_LINUX:
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def parents() -> Iterator[tuple[int, int]]:
    """Yield (process id, parent's id) of every process that has not ended."""
    if not Path("/proc/self/stat").exists():
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
        for line in table.stdout.splitlines():
            pid, parent = line.split()
            yield int(pid), int(parent)
        return
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                # The command in parentheses may hold spaces and parentheses itself.
                state, parent, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                if state not in "ZX":
                    yield int(folder.name), int(parent)


def descendants(root: int) -> list[int]:
    """Return the living processes below `root`, nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(0), [])
        found += below
        todo += below
    return found


def send(signum: int, *pids: int) -> None:
    """Signal processes that may be gone by now."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def reap(codes: dict[int, int]) -> None:
    """Collect ended children, adopted ones too, and note their exit codes."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            codes[pid] = os.waitstatus_to_exitcode(status)


def end_tree(command: int, codes: dict[int, int], grace_s: float) -> None:
    """Ask what the command started to end, then the command, twice; then kill what is left.

    The order is for Prefect's worker. Asked together with its flow runs it takes them down
    before they can report themselves as crashed, and they count as running for ever
    (measured with 3.8.8). Asked once only, it may live on.
    """
    started = time.monotonic()
    asked: set[int] = set()
    times_asked, first_asked = 0, 0.0
    while left := descendants(os.getpid()):
        waited = (time.monotonic() - started) / grace_s
        below = [pid for pid in left if pid != command]
        # One by one as they appear: a worker that was not asked yet may start another run.
        send(signal.SIGTERM, *(pid for pid in below if pid not in asked))
        asked.update(below)
        if waited > 1:
            send(signal.SIGKILL, *left)
        elif times_asked == 0 and (not below or waited > 0.5):
            send(signal.SIGTERM, command)
            times_asked, first_asked = 1, waited
        elif times_asked == 1 and waited > first_asked + 0.25:
            send(signal.SIGTERM, command)
            times_asked = 2
        time.sleep(0.05)
        reap(codes)


def main(argv: list[str]) -> int:
    """Run the command under guard; return its exit code as a shell does, 0 if asked to stop."""
    parent, grace_s, words = int(argv[0]), float(argv[1]), argv[2:]
    stdin = None if words[0] == KEEPS_STDIN else subprocess.DEVNULL
    stop_asked = False

    def note(signum: int, frame: object) -> None:
        nonlocal stop_asked
        stop_asked |= signum in (signal.SIGTERM, signal.SIGINT)

    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1):
        signal.signal(signum, note)
    # Every signal also writes a byte here: none is lost between a check and a wait.
    wake_read, wake_write = os.pipe()
    for end in (wake_read, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # Linux sends it when the *thread* that started us ends, hence the look at the parent.
    prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    command = subprocess.Popen(
        words[1:] if stdin is None else words,
        stdin=stdin,
        # Should the guard be killed, the command goes too. Safe here: there is one thread.
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
    ).pid
    codes: dict[int, int] = {}
    while command not in codes and not stop_asked and os.getppid() == parent:
        select.select([wake_read], [], [], None if IS_LINUX else 1.0)
        with contextlib.suppress(BlockingIOError):
            os.read(wake_read, 4096)
        reap(codes)
    ended_by_itself = command in codes
    end_tree(command, codes, grace_s)
    reap(codes)
    code = codes.get(command, 0) if ended_by_itself else 0
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

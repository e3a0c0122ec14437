"""Start a server or worker, wait until it answers, end it with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import ServiceError
from models.services import guard
from models.services.identity import ProcessId, kill_session, kill_tree

KILL_MARGIN_S = 10.0
"""Seconds that a guard may need beyond its grace on a machine that is busy elsewhere."""

LOG_LIMIT_BYTES = 8 * 1024**2
"""A log that is longer when its process starts is put aside as `<name>.log.1`."""


@dataclass(frozen=True)
class Command:
    """What to start, and how to know that it is ready."""

    name: str
    argv: tuple[str, ...]
    log: Path
    environment: Mapping[str, str] = field(repr=False)
    """All variables of the process (may hold passwords, hence never shown)."""
    cwd: Path | None = None
    url: str | None = None
    """What people open."""
    port: int | None = None
    """Port that the process must hold before it counts as ready."""
    probe: Callable[[], bool] | None = field(default=None, repr=False)
    """Asks the process for an answer; None: ready as soon as it runs."""
    ready_timeout_s: float = 180.0
    advice: str = ""
    """What one can do when it fails."""
    grace_s: float = 20.0
    """Seconds from the first SIGTERM to SIGKILL; see `guard.end_tree` for the steps between."""


class ManagedProcess:
    """One started `Command`, in a session of its own, under a guard, logging to its file."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.ready_after_s: float | None = None
        """Seconds it took to answer; None: it has not yet."""
        self.started = time.monotonic()
        self._log_start = _prepare_log(command.log)
        # Isolated and without site: the guard starts in 30 ms and takes 12 MB.
        guarded = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid())]
        with command.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*guarded, str(command.grace_s), *command.argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(command.environment),
                cwd=command.cwd,
                start_new_session=True,  # Ctrl-C in our terminal is for us alone to handle
            )
        self.identity = ProcessId.of(self._process.pid)

    @property
    def pid(self) -> int:
        """Process id of the guard, at the top of everything this command started."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Exit code of the command (128 + signal if killed); None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int:
        """Wait for a command that ends by itself and return its exit code.

        Raises:
            ServiceError: It still runs after `timeout_s`; it is ended then.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise ServiceError(
                f"{self.command.name} did not end within {timeout_s:.0f} s{self.last_words()}"
            ) from None

    def wait_ready(self) -> None:
        """Wait until the process answers; raises what `check_ready` raises."""
        wait_all_ready([self])

    def check_ready(self) -> bool:
        """Look once whether the process answers, and remember when it first did.

        Raises:
            ServiceError: It ended, or did not answer in time (it is ended then); the
                message quotes the last lines of its log.
        """
        command, age_s = self.command, time.monotonic() - self.started
        if self.ready_after_s is None and self.is_ready():
            self.ready_after_s = age_s
        elif self.exit_code is not None:
            raise self.ended_early()
        elif self.ready_after_s is None and age_s > command.ready_timeout_s:
            self.stop()
            where = f" at {command.url}" if command.url else ""
            raise ServiceError(
                f"{command.name} did not answer{where} within "
                f"{command.ready_timeout_s:.0f} s and was stopped{self.last_words()}"
            )
        return self.ready_after_s is not None

    def is_ready(self) -> bool:
        """Ask once whether it runs, holds its port and answers."""
        command = self.command
        if self.exit_code is not None:
            return False
        if command.probe is not None and not command.probe():
            return False
        # Somebody else's server on that port may have answered while ours could not bind.
        return command.port is None or self._holds(command.port)

    def ended_early(self) -> ServiceError:
        """Build the error for a process that ended by itself."""
        advice = f"; {self.command.advice}" if self.command.advice else ""
        return ServiceError(
            f"{self.command.name} ended by itself with exit code {self.exit_code}"
            f"{advice}{self.last_words()}"
        )

    def last_words(self, lines: int = 12) -> str:
        """Return where the log is and its last lines, to end a message with."""
        written = tail(self.command.log, lines, self._log_start)
        quoted = "".join(f"\n  | {line}" for line in written) or "\n  | (nothing written)"
        return f"; the last lines of {self.command.log}:{quoted}"

    def ask_to_stop(self) -> None:
        """Start the ending without waiting for it."""
        self.identity.send(signal.SIGTERM)

    def stop(self) -> None:
        """End the process and all it started; safe to call twice, and at any time."""
        self.ask_to_stop()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self.command.grace_s + KILL_MARGIN_S)
        finally:  # also on an impatient second Ctrl-C
            self.kill()

    def kill(self) -> None:
        """End the process and all it started at once, also when its guard was killed before."""
        kill_tree(self.identity)
        kill_session(self.identity)
        self._process.wait()

    def _holds(self, port: int) -> bool:
        import psutil

        for pid in guard.descendants(self.pid):
            try:
                sockets = psutil.Process(pid).net_connections(kind="tcp")
            except (psutil.Error, OSError):
                continue
            if any(s.status == psutil.CONN_LISTEN and s.laddr.port == port for s in sockets):
                return True
        return False


def wait_all_ready(processes: Sequence[ManagedProcess]) -> None:
    """Wait until all have answered; the first that ends or times out raises its error."""
    waiting = list(processes)
    # Each in turn: one that died is noticed while we wait for another.
    while waiting := [process for process in waiting if not process.check_ready()]:
        time.sleep(0.2)


def _prepare_log(log: Path) -> int:
    """Put a long log aside and return the size of what stays: our own lines start there."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    return log.stat().st_size if log.exists() else 0


def tail(file: Path, lines: int, start: int = 0) -> list[str]:
    """Return the last lines written to `file` after byte `start`, blank ones left out."""
    try:
        with file.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(start, size - 16_384))
            text = log.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    # Without the lines that only underline a place in a traceback.
    return [line.rstrip() for line in text.splitlines() if line.strip(" ^~")][-lines:]

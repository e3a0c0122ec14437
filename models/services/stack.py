"""The one stack of a home directory: who owns it, what it consists of, how it ends."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from models.errors import AlreadyRunningError, ServiceError
from models.services.identity import ProcessId, kill_tree
from models.services.process import KILL_MARGIN_S, Command, ManagedProcess
from models.services.state import Part, StackState, remove, running_stack
from models.settings import Settings

END_TIMEOUT_S = 120.0
"""Seconds that a whole stack may take to end when asked, before it is killed."""


class Stack:
    """Owns the lock, the processes and the state file from `with` to its end.

    Whatever ends the block (an error, Ctrl-C, the body itself), every process is ended,
    the worker before the servers, and the state is removed.

    Raises:
        AlreadyRunningError: Another process owns the stack of this home.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.processes: list[ManagedProcess] = []
        self.is_stopping = False
        self.state = StackState(
            owner=ProcessId.of(os.getpid()),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def __enter__(self) -> Self:
        from filelock import FileLock, Timeout

        home = self.settings.home
        # The system frees it however we end, so a lock that is held is never stale.
        self._lock = FileLock(home / "stack.lock")
        try:
            home.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise already_running(running_stack(self.settings)) from None
        except OSError as error:
            raise ServiceError(
                f"LOOM_HOME {home} cannot be written ({error.strerror}); name another folder"
            ) from error
        try:
            stale = StackState.read(self.settings.state_file)
            end_parts(stale.parts if stale else ())
            self.publish()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        except KeyboardInterrupt:  # asked twice: no more patience
            for process in self.processes:
                process.kill()
        finally:
            remove(self.settings)
            self._lock.release()

    def start(self, command: Command) -> ManagedProcess:
        """Start a part; `down` and stale-state cleaning know it from this moment."""
        process = ManagedProcess(command)
        self.processes.append(process)
        self.publish()
        return process

    def publish(self, **changes: str | bool | None) -> None:
        """Write the state file: the parts, and whatever else is known by now."""
        parts = tuple(
            Part(p.command.name, p.identity, p.command.url, str(p.command.log))
            for p in self.processes
        )
        self.state = replace(self.state, parts=parts, **changes)  # type: ignore[arg-type]
        self.state.write(self.settings.state_file)

    def run(self, command: Command, timeout_s: float) -> None:
        """Run a command that ends by itself as part of the stack.

        Raises:
            ServiceError: It failed or took too long.
        """
        process = self.start(command)
        try:
            if process.wait(timeout_s) != 0:
                raise process.ended_early()
        finally:
            process.stop()
            self.processes.remove(process)
            self.publish()

    def check(self) -> None:
        """Make sure that every part still runs.

        Raises:
            ServiceError: One ended by itself; the message quotes its last lines.
        """
        for process in self.processes:
            if process.exit_code is not None:
                raise process.ended_early()

    def stop(self) -> None:
        """End all parts: first what talks to the servers, so that it can still report."""
        self.is_stopping = True
        clients = [process for process in self.processes if process.command.port is None]
        servers = [process for process in self.processes if process.command.port is not None]
        for group in (clients, servers):
            for process in group:
                process.ask_to_stop()
            for process in group:
                process.stop()


def down(settings: Settings) -> StackState | None:
    """End the stack of this home, whatever state it is in; return what was found.

    Raises:
        ServiceError: A process of the stack belongs to another user or does not die.
    """
    state = StackState.read(settings.state_file)
    if state is None:
        remove(settings)  # an unreadable file is of no use to anybody
        return None
    try:
        if state.owner.send(signal.SIGTERM):
            state.owner.wait(END_TIMEOUT_S)
        kill_tree(state.owner)
        end_parts(state.parts)
    except PermissionError as error:
        raise ServiceError(
            f"the stack ({state.describe()}) belongs to another user; ask its owner to run "
            "`loom down`"
        ) from error
    remove(settings)
    return state


def end_parts(parts: Iterable[Part]) -> None:
    """End what is left of a stack whose owner is gone; their guards are at it already.

    Raises:
        ServiceError: One is still there after SIGKILL.
    """
    parts = tuple(parts)
    for part in parts:
        part.process.send(signal.SIGTERM)
    deadline = time.monotonic() + END_TIMEOUT_S / 2 + KILL_MARGIN_S
    for part in parts:
        part.process.wait(max(0.0, deadline - time.monotonic()))
        kill_tree(part.process)
        if part.process.is_alive():
            raise ServiceError(
                f"{part.name} (process {part.process.pid}) does not end, not even on SIGKILL; "
                f"see {part.log} and end it by hand"
            )


def already_running(state: StackState | None) -> AlreadyRunningError:
    """Build the error for a second `loom up`."""
    where = state.describe() if state else "still starting"
    return AlreadyRunningError(f"the stack is up already: {where}; `loom down` ends it")

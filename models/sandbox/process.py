"""What all levels that start processes have in common: run a command, start a shell, end all."""

from __future__ import annotations

import contextlib
import os
import secrets
import selectors
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from models.sandbox.base import (
    DEFAULT_LIMITS,
    Command,
    CommandResult,
    Killed,
    Level,
    Limits,
    SandboxError,
    as_workspace,
    base_environment,
)
from models.sandbox.capture import Capture
from models.sandbox.launch import Child, kill_all, marked
from models.sandbox.outputs import MakeMask, Outputs

if TYPE_CHECKING:
    from models.sandbox.files import Files
    from models.sandbox.shell import Shell

SANDBOX_MARK, COMMAND_MARK = "LOOM_SANDBOX", "LOOM_COMMAND"
"""Variables by which processes are found again that left their tree."""

_READ_BYTES = 65_536
_LOOK_AGAIN_S = 0.02
_AFTER_END_S = 0.2
"""How long output is still read from children that a command left behind."""


@dataclass(frozen=True)
class Streams:
    """How a process to start is reached: descriptors and a terminal, see `Launch`; and folders
    beside the workspace that it may write to, at the same paths: those of `ProcessSandbox.folder`.
    """

    fds: Mapping[int, int]
    tty: tuple[str, Sequence[int]] | None = None
    folders: Sequence[Path] = ()


@dataclass
class Running:
    """A started process and how to end all that belongs to it.

    Attributes:
        child: The process we wait for.
        kill: Ends the process and everything it started.
        memory_kills: Counts processes killed for lack of memory.
        release: Lets go of what it held (a cgroup).
        keepers: Processes that hold the sandbox itself, and the first command in it.
    """

    child: Child
    kill: Callable[[], None]
    memory_kills: Callable[[], int] = field(default=lambda: 0)
    release: Callable[[], None] = field(default=lambda: None)
    keepers: Callable[[], list[int]] = field(default=list)


class ProcessSandbox(ABC):
    """A sandbox whose commands are processes of this host.

    Args:
        workspace: Folder that commands start in and may change.
        limits: What they may use.
        env: Variables added to the clean environment.
    """

    level: Level

    def __init__(
        self,
        workspace: Path | str,
        limits: Limits = DEFAULT_LIMITS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.workspace = as_workspace(workspace)
        self.limits = limits
        self.notes: tuple[str, ...] = ()
        self._outputs = Outputs(lambda: self.user)
        self.outputs = self._outputs.path
        """Where outputs that were cut lie as a whole; commands may read them, nobody else."""
        self._extra = dict(env or {})
        self._token = secrets.token_hex(8)
        self._running: dict[int, Running] = {}
        self._shells: list[Shell] = []
        self._lock = threading.Lock()
        self._closed = False

    @property
    @abstractmethod
    def files(self) -> Files:
        """Files of the workspace."""

    @property
    def user(self) -> int | None:
        """Number of the user that commands run as on the host, where it is another than ours."""
        return None

    @abstractmethod
    def _launch(
        self, argv: Sequence[str], env: Mapping[str, str], streams: Streams, mark: str
    ) -> Running: ...

    def folder(self) -> Path:
        """Make a folder of the host that commands may be given (`Streams.folders`).

        Nobody else may enter it. Whoever asked for it removes it.
        """
        made = Path(tempfile.mkdtemp(prefix="loom-shared-"))
        if self.user is not None:
            os.chown(made, self.user, self.user)
        return made

    def hide(self, make_mask: MakeMask) -> None:
        """Pass what is saved of outputs from now on through a mask, too."""
        self._outputs.hide(make_mask)

    def capture(self, cap_bytes: int) -> Capture:
        """Make what takes an output, of which so much is kept in memory."""
        return Capture(cap_bytes, self._outputs, self.limits.file_bytes)

    def lend(self, env: Mapping[str, str | None]) -> None:
        """Change the variables of commands that begin from now on; None: take one away."""
        given = {**self._extra, **env}
        self._extra = {name: value for name, value in given.items() if value is not None}

    def _home(self) -> str:
        return str(self.workspace)

    def environment(self, env: Mapping[str, str] | None = None) -> dict[str, str]:
        """Build the environment of a command: clean, then ours, then the call's."""
        return {**base_environment(self._home(), os.environ), **self._extra, **(env or {})}

    def start(self, argv: Sequence[str], env: Mapping[str, str], streams: Streams) -> Running:
        """Start a process that is ended with this sandbox.

        Raises:
            SandboxError: It cannot be started, or the sandbox is closed.
        """
        if self._closed:
            raise SandboxError(f"the sandbox of {self.workspace} is closed; make a new one")
        marks = {SANDBOX_MARK: self._token, COMMAND_MARK: secrets.token_hex(8)}
        mark = f"{COMMAND_MARK}={marks[COMMAND_MARK]}"
        running = self._launch(argv, {**env, **marks}, streams, mark)
        with self._lock:
            self._running[id(running)] = running
        return running

    def finish(self, running: Running) -> None:
        """End a process and all it started, and let go of what it held; once."""
        with self._lock:
            if self._running.pop(id(running), None) is None:
                return
        running.kill()
        running.child.wait()
        running.release()

    def run(
        self,
        command: Command,
        *,
        stdin: bytes = b"",
        timeout_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> CommandResult:
        """Run a command to its end; see `Sandbox.run`."""
        # By a shell in both cases: a program that is not there is exit 127 on every level.
        words = [command] if isinstance(command, str) else ['exec "$@"', "sh", *command]
        argv = ["/bin/sh", "-c", *words]
        seconds = self.limits.wall_s if timeout_s is None else timeout_s
        started = time.monotonic()
        capture = self.capture(self.limits.output_bytes)
        read_end, running = self._start_piped(argv, self.environment(env), stdin)
        try:
            killed = _collect(running, read_end, capture, started + seconds)
            exit_code = running.child.exit_code
            if killed is None and running.memory_kills() > 0:
                killed = "memory"
        finally:
            self.finish(running)
            os.close(read_end)
            capture.close()
        seen = capture.seen()
        return CommandResult(
            exit_code=137 if exit_code is None else exit_code,
            output=seen.text,
            duration_s=time.monotonic() - started,
            killed=killed,
            full_output=seen.file,
            output_bytes=seen.total_bytes,
        )

    def _start_piped(
        self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes
    ) -> tuple[int, Running]:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        # A file in memory instead of a second pipe: nobody has to feed it.
        given = os.memfd_create("stdin", os.MFD_CLOEXEC)
        try:
            with open(os.dup(given), "wb") as file:
                file.write(stdin)
            os.lseek(given, 0, os.SEEK_SET)
            running = self.start(argv, env, Streams({0: given, 1: write_end, 2: write_end}))
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
            os.close(given)
        return read_end, running

    def shell(self, env: Mapping[str, str] | None = None) -> Shell:
        """Start a shell that keeps its folder and variables between commands."""
        from models.sandbox.shell import Shell

        shell = Shell(self, self.environment(env))
        with self._lock:
            self._shells.append(shell)
        return shell

    def close(self) -> None:
        """End every process of this sandbox."""
        self._closed = True
        with self._lock:
            shells, self._shells = self._shells, []
        for shell in shells:
            shell.close()
        with self._lock:
            running = list(self._running.values())
        for one in running:
            self.finish(one)
        if self.level != "sandboxed":
            # A namespace takes all with it; elsewhere daemons have to be looked for.
            kill_all(lambda: marked(f"{SANDBOX_MARK}={self._token}"))
        self._outputs.close()

    def __enter__(self) -> ProcessSandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _collect(running: Running, pipe: int, capture: Capture, deadline: float) -> Killed | None:
    """Read until the command and its output end, or until the time is over."""
    child = running.child
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        last_read: float | None = None
        while True:
            now = time.monotonic()
            if now >= deadline:
                running.kill()
                child.wait()
                _drain(pipe, capture)
                return "timeout"
            # Children that a command left in the background hold the pipe open: what counts
            # then is that the command itself has ended.
            has_ended = child.exit_code is not None
            if has_ended:
                last_read = last_read or now + _AFTER_END_S
                if now >= last_read:
                    return None
            if not selector.select(min(deadline - now, _LOOK_AGAIN_S)):
                # As it was before we looked: one that ends only now has just written, perhaps.
                if has_ended:
                    return None
                continue
            piece = os.read(pipe, _READ_BYTES)
            capture.add(piece)
            if not piece and child.wait(max(0.0, deadline - time.monotonic())) is not None:
                return None


def _drain(pipe: int, capture: Capture) -> None:
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError):
        while piece := os.read(pipe, _READ_BYTES):
            capture.add(piece)

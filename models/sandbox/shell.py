"""A shell that lives on between commands: folder, variables and functions persist.

One bash runs on a terminal of its own. Commands do not travel through that terminal: they lie
in a file in memory that bash reads by `.`, so heredocs, quotes and line ends arrive as they
are, nothing is echoed, and a program that reads the terminal cannot eat the next command.
After each command bash writes a mark with a fresh random word, the exit code and the folder
to the terminal, behind all that the command itself has written there.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from models.errors import ConfigError
from models.sandbox.base import SandboxError
from models.sandbox.job import Job, ShellResult, Status
from models.sandbox.launch import marked
from models.sandbox.process import COMMAND_MARK, Streams
from models.sandbox.terminal import Terminal

if TYPE_CHECKING:
    from models.sandbox.process import ProcessSandbox, Running

_SCRIPT_FD, _TTY_FD = 198, 199
_START_S = 20.0
_GRACE_S = 0.5
"""How long ctrl-C has before processes are killed, and killed ones before the shell is."""

_BETWEEN_BYTES = 4096
"""What is kept of the output of background programs while no command runs."""

# Interactive, so that ctrl-C ends a command and not the shell, and jobs get groups of their own.
_BASH = ("/bin/bash", "--norc", "--noprofile", "--noediting", "-i")
_SETUP = (
    "PS1= PS2= PROMPT_COMMAND=; unset HISTFILE; set +o history; set +H; "
    "shopt -u checkwinsize checkjobs huponexit; "
    "__loom_status() { return $1; }\n"
)


class ShellBusyError(SandboxError):
    """A command still runs: wait for it, type to it, or interrupt it first."""


class Shell:
    """A persistent shell in a sandbox; safe between threads, one command at a time.

    Args:
        sandbox: Where it runs.
        env: Its whole environment.
    """

    def __init__(self, sandbox: ProcessSandbox, env: Mapping[str, str]) -> None:
        self._sandbox = sandbox
        self._env = dict(env)
        self._changed = threading.Condition()
        self._terminal: Terminal | None = None
        self._running: Running | None = None
        self._commands = -1
        self._script = -1
        self._job: Job | None = None
        self._last_code = 0
        self._pending = b""
        self._between = b""
        self._closed = False

    def run(
        self, command: str, *, soft_s: float = 10.0, hard_s: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> ShellResult:  # fmt: skip
        """Run a command; come back when it ends or after `soft_s`, whichever is first.

        Args:
            command: Bash, any number of lines.
            soft_s: Seconds after which what there is so far is returned, status `running`.
            hard_s: Seconds after which it is killed with all it started; None: never.
            env: Variables for this command only, not kept by the shell.

        Raises:
            ShellBusyError: The command before it still runs.
            ConfigError: The command holds a NUL byte, which no shell can read.
        """
        if "\0" in command:
            raise ConfigError("the command holds a NUL byte; write it as an escape (printf '\\0')")
        with self._changed:
            if self._job is not None and self._job.is_running:
                raise ShellBusyError(
                    "a command still runs in this shell; wait for it (empty input), type to it, "
                    "interrupt it or reset the shell"
                )
            job = self._begin(self._start(), command, hard_s, env or {})
        return self._wait(job, soft_s)

    def poll(self, soft_s: float = 10.0) -> ShellResult:
        """Wait up to `soft_s` more for the command that runs; the last one if none does."""
        return self._wait(self._current(), soft_s)

    def send(self, text: str, soft_s: float = 1.0) -> ShellResult:
        """Type to the program that runs; end lines with a line feed."""
        job = self._current()
        if job.is_running and self._terminal is not None:
            self._terminal.write(text.encode())
        return self._wait(job, soft_s)

    def interrupt(self, soft_s: float = 2.0) -> ShellResult:
        """Press ctrl-C."""
        return self.send("\x03", soft_s)

    def reset(self) -> None:
        """End the shell and all that it started; the next command gets a fresh one."""
        self._end_shell("killed", 137)

    def close(self) -> None:
        """End the shell for good."""
        self._closed = True
        self.reset()

    @property
    def running(self) -> Running | None:
        """The process of the shell; None before it starts and after it has ended."""
        return self._running

    @property
    def is_busy(self) -> bool:
        """Whether a command runs."""
        return self._job is not None and self._job.is_running

    def _current(self) -> Job:
        if self._job is None:
            raise SandboxError("no command has run in this shell yet; run one first")
        return self._job

    def _wait(self, job: Job, soft_s: float) -> ShellResult:
        with self._changed:
            self._changed.wait_for(lambda: not job.is_running, timeout=soft_s)
            return job.result()

    def _start(self) -> Terminal:
        """Start bash unless it lives; return its terminal."""
        if self._closed:
            raise SandboxError("this shell is closed; ask the sandbox for a new one")
        if self._terminal is not None:
            return self._terminal
        terminal = Terminal(self._sandbox.user)
        commands_read, self._commands = os.pipe2(os.O_CLOEXEC)
        self._script = os.memfd_create("command", os.MFD_CLOEXEC)
        readable = os.open(f"/proc/self/fd/{self._script}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            streams = Streams(
                {0: commands_read, _SCRIPT_FD: readable}, tty=(terminal.path, (1, 2, _TTY_FD))
            )
            running = self._sandbox.start(_BASH, self._env, streams)
        except BaseException:
            terminal.close()
            os.close(self._commands)
            os.close(self._script)
            raise
        finally:
            os.close(commands_read)
            os.close(readable)
        terminal.begun()
        self._running, self._terminal, self._last_code = running, terminal, 0
        self._pending = self._between = b""
        os.write(self._commands, _SETUP.encode())
        threading.Thread(
            target=self._read, args=(running, terminal), name="loom-shell", daemon=True
        ).start()
        # Its greeting (a bash without a terminal's rights complains) is no command's output.
        ready = self._begin(terminal, ":", _START_S, {})
        if not self._changed.wait_for(lambda: not ready.is_running, timeout=_START_S):
            raise SandboxError("the shell did not answer; see whether /bin/bash works there")
        if ready.status != "finished":
            said = ready.capture.seen().text.strip()
            raise SandboxError(f"the shell did not start: {said or f'exit {ready.exit_code}'}")
        return terminal

    def _begin(
        self, terminal: Terminal, command: str, hard_s: float | None, env: Mapping[str, str]
    ) -> Job:
        terminal.restore()
        job = Job.begin(self._sandbox.capture(self._sandbox.limits.output_bytes), hard_s)
        job.capture.add(self._between)
        self._between = b""
        self._job = job
        os.ftruncate(self._script, 0)
        os.pwrite(self._script, command.encode() + b"\n", 0)
        before, after = _variables(env)
        lines = (
            f"export {COMMAND_MARK}={job.word}; {before}"
            f"{{ __loom_status {self._last_code}; . /dev/fd/{_SCRIPT_FD}; }} <&{_TTY_FD}\n"
            f"__loom_code=$?; {after}"
            f"builtin printf '{job.mark_format()}' $__loom_code \"$PWD\" >&{_TTY_FD}\n"
        )
        try:
            os.write(self._commands, lines.encode())
        except BrokenPipeError:
            # Bash has just ended; the reader is about to see it and to say so.
            job.deadline = None
        if job.deadline is not None:
            terminal.wake()
        return job

    def _read(self, running: Running, terminal: Terminal) -> None:
        """Take what the terminal says until the shell ends: the body of a thread."""
        try:
            while (piece := terminal.read(self._next_deadline())) != b"":
                if piece is None:
                    self._enforce(running)
                    continue
                with self._changed:
                    self._take(piece)
        finally:
            # Also after a failure: nobody may wait for a reader that is gone.
            code = running.child.wait(_GRACE_S)
            if code is None:
                running.kill()
                code = running.child.wait()
            with self._changed:
                if self._running is running:
                    self._forget("exited", 137 if code is None else code)
            self._sandbox.finish(running)
            terminal.close()

    def _next_deadline(self) -> float | None:
        job = self._job
        return None if job is None or not job.is_running else job.deadline

    def _take(self, piece: bytes) -> None:
        job = self._job
        data, self._pending = self._pending + piece, b""
        if job is None or not job.is_running:
            self._between = (self._between + data)[-_BETWEEN_BYTES:]
            return
        is_over, rest = job.take(data)
        if not is_over:
            self._pending = rest
            return
        self._last_code = job.exit_code or 0
        self._between = rest
        self._finish(job, "killed" if job.is_killed else "finished")

    def _finish(self, job: Job, status: Status) -> None:
        job.end(status)
        self._changed.notify_all()

    def _enforce(self, running: Running) -> None:
        """Kill the command whose time is over; the shell too, if it does not come back."""
        with self._changed:
            job = self._job
            if job is None or job.deadline is None or not job.is_running:
                return
            if time.monotonic() < job.deadline:
                return
            steps = 0 if not job.is_killed else 1
            job.is_killed = True
            job.deadline = time.monotonic() + _GRACE_S
            terminal = self._terminal
        if steps == 0 and terminal is not None:
            # First, so that a loop in the shell itself ends as well.
            with contextlib.suppress(OSError):
                terminal.write(b"\x03")
            time.sleep(0.05)
            self._kill_command(job.word, running)
        else:
            running.kill()

    def _kill_command(self, word: str, running: Running) -> None:
        """Kill what a command started, the shell and what came before it left alone."""
        victims = set(marked(f"{COMMAND_MARK}={word}"))
        if self._terminal is not None:
            victims |= self._terminal.foreground()
        for pid in victims - {running.child.pid, *running.keepers(), os.getpid()}:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _end_shell(self, status: Status, code: int) -> None:
        with self._changed:
            running = self._running
            if running is None:
                return
            self._forget(status, code)
        running.kill()
        # The reader sees the end of the terminal and cleans up.

    def _forget(self, status: Status, code: int) -> None:
        """Drop the shell; its command, if one runs, ends with it."""
        job = self._job
        if job is not None and job.is_running:
            job.capture.add(self._pending)
            job.exit_code = code
            self._finish(job, "killed" if job.is_killed else status)
        self._running = self._terminal = None
        self._pending = self._between = b""
        for descriptor in (self._commands, self._script):
            os.close(descriptor)


def _variables(env: Mapping[str, str]) -> tuple[str, str]:
    """Write variables for one command: words that set them, and words that take them back.

    They do not go through a file or an argument of a process, which others could read.
    """
    before = after = ""
    for name, value in env.items():
        before += f"export {name}={shlex.quote(value)}; "
        after += f"unset {name}; "
    return before, after

"""A tee between an MCP client and a server: every byte passes unchanged, and is written down.

The client is given `loom detect tap -- COMMAND ...` in place of `COMMAND ...`. Signals go on to
the server, its exit code comes back. A record that cannot be written stops nothing.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from models.errors import ServiceError
from models.settings import get_settings

_CHUNK_BYTES = 65_536
_DRAIN_S = 5.0
"""How long to wait for output that a server's children still hold open after it ended."""

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
              signal.SIGUSR2, signal.SIGCONT)  # fmt: skip


def new_record() -> Path:
    """Return a file for a new record, below the project's home folder."""
    moment = time.strftime("%Y%m%dT%H%M%S")
    return get_settings().home / "detection" / "taps" / f"{moment}-{os.getpid()}.jsonl"


class Recorder:
    """Writes what passes to a file that only its owner can read, a line of JSON for each line.

    Args:
        path: Appended to; made with its folder.
        command: That of the server.
    """

    def __init__(self, path: Path, command: Sequence[str]) -> None:
        self.path = path
        self.failure = ""
        """Why nothing is written any more; empty: all was."""
        self._lock = threading.Lock()
        self._held: dict[str, bytearray] = {}
        self._file = -1
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(path, flags, 0o600)
            os.fchmod(self._file, 0o600)
        except OSError as error:
            self.failure = error.strerror or str(error)
        self._write({"time": time.time(), "from": "tap", "command": list(command), "text": ""})

    def feed(self, side: str, data: bytes) -> None:
        """Take bytes of one side; whole lines are written."""
        with self._lock:
            held = self._held.setdefault(side, bytearray())
            held += data
            *lines, rest = held.split(b"\n")
            self._held[side] = bytearray(rest)
            for line in lines:
                self._line(side, bytes(line))

    def end(self, side: str) -> None:
        """Write what one side left without the end of a line."""
        with self._lock:
            if rest := self._held.pop(side, None):
                self._line(side, bytes(rest))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1

    def _line(self, side: str, line: bytes) -> None:
        try:
            told = {"text": line.decode()}
        except UnicodeDecodeError:
            told = {"base64": base64.b64encode(line).decode()}
        self._write({"time": time.time(), "from": side, **told})

    def _write(self, values: dict[str, object]) -> None:
        if self._file < 0 or self.failure:
            return
        try:
            _write_all(self._file, json.dumps(values, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            self.failure = error.strerror or str(error)


def tap(command: Sequence[str], record: Path) -> int:
    """Run a server between our standard streams and return its exit code.

    Args:
        command: The server's command and arguments.
        record: File to append to.

    Returns:
        Its exit code; -N: signal N ended it, as `subprocess` says.

    Raises:
        ServiceError: The command cannot be started.
    """
    recorder = Recorder(record, command)
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
    except OSError as error:
        recorder.close()
        raise ServiceError(
            f"the server '{command[0]}' cannot be started ({error.strerror or error}); check the "
            "command after --"
        ) from None
    assert server.stdin is not None
    assert server.stdout is not None
    assert server.stderr is not None
    old = {number: signal.signal(number, _passes_on(server)) for number in _PASSED_ON}
    pumps = [
        _pump(server.stdout, 1, "server", recorder),
        _pump(server.stderr, 2, "stderr", recorder),
    ]
    # The client may keep its end open after the server is gone: nobody waits for this one.
    _pump(0, server.stdin, "client", recorder)
    try:
        code = server.wait()
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    until = time.monotonic() + _DRAIN_S
    for thread in pumps:
        thread.join(max(0.0, until - time.monotonic()))
    recorder.end("client")
    recorder.close()
    if recorder.failure:
        print(f"loom detect tap: {record} is not whole: {recorder.failure}", file=sys.stderr)
    return code


def end_like(code: int) -> int:
    """End this process as the server ended: by the same signal, or return its exit code."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError, ValueError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _passes_on(server: subprocess.Popen[bytes]) -> signal._HANDLER:
    def pass_on(number: int, _: FrameType | None) -> None:
        # A terminal sends Ctrl-C to the server itself.
        if not (number == signal.SIGINT and os.isatty(0)):
            server.send_signal(number)

    return pass_on


def _pump(
    source: IO[bytes] | int, target: IO[bytes] | int, side: str, recorder: Recorder
) -> threading.Thread:
    def run() -> None:
        reads = source if isinstance(source, int) else source.fileno()
        writes = target if isinstance(target, int) else target.fileno()
        try:
            while data := os.read(reads, _CHUNK_BYTES):
                recorder.feed(side, data)
                _write_all(writes, data)
        except OSError:
            pass  # The other end is gone; closing ours tells the one before.
        recorder.end(side)
        for end in (source, target):
            if not isinstance(end, int):
                with contextlib.suppress(OSError):
                    end.close()

    thread = threading.Thread(target=run, name=f"tap-{side}", daemon=True)
    thread.start()
    return thread


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]

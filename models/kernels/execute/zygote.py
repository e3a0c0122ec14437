"""The client of the warm parents: start it, send requests, end it. Needs no torch itself."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from models.errors import ServiceError
from models.kernels.execute.frames import BrokenFrameError, frame, read_frame, write_all

_ROOT = Path(__file__).resolve().parents[3]
_START_S = 180.0
"""Importing torch, Triton and OpInfo took 4 CPU seconds, 14 s of wall time on a busy machine."""


class ZygoteError(ServiceError):
    """The warm parent did not start, went away, or one of our own functions in it failed."""


class ForkFailedError(ZygoteError):
    """A request failed in its fork, such as a reference that ends its process; others go on."""


class Zygote:
    """A pair of warm parents, one of which forks candidates; one request at a time.

    Use it as a context manager.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: dict[str, socket.socket] = {}
        self._lock = threading.Lock()
        self.hello: dict[str, Any] = {}
        """What the parent said when it was ready: versions, start_cpu_s, has_no_network."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the parent, if it does not run; waits until it is warm.

        Raises:
            ZygoteError: It did not become ready; its own words are in the message.
        """
        if self._process is not None and self._process.poll() is None:
            return
        pairs = {kind: socket.socketpair() for kind in ("call", "execute")}
        theirs = [pair[1] for pair in pairs.values()]
        environment = {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                       "PATH": os.defpath, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8",
                       "PYTHONPATH": os.pathsep.join([str(_ROOT), *_more_paths()])}  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "models.kernels.execute.server",
             *(str(one.fileno()) for one in theirs)],
            pass_fds=[one.fileno() for one in theirs],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=_ROOT,
        )  # fmt: skip
        for one in theirs:
            one.close()
        self._sockets = {kind: pair[0] for kind, pair in pairs.items()}
        try:
            self.hello, _ = read_frame(self._sockets["call"].fileno(), _START_S)
        except (BrokenFrameError, TimeoutError) as error:
            self._process.kill()
            said = self._process.communicate()[1].decode("utf-8", "replace")[-2_000:]
            self.close()
            raise ZygoteError(
                f"the execution process did not start ({error}); it said: "
                f"{said.strip() or 'nothing'}"
            ) from error

    def close(self) -> None:
        """End the parent and with it all children."""
        for one in self._sockets.values():
            one.close()
        self._sockets = {}
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None

    def ask(
        self, request: dict[str, Any], block: bytes = b"", timeout_s: float | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Send one request and wait for its answer.

        Raises:
            ZygoteError: The parent went away, answered too late, or the request failed.
        """
        with self._lock:
            self.start()
            descriptor = self._sockets[request["kind"]].fileno()
            try:
                write_all(descriptor, frame(request, block))
                reply, out = read_frame(descriptor, timeout_s)
            except (BrokenFrameError, TimeoutError, OSError) as error:
                self.close()
                raise ZygoteError(
                    f"the execution process failed at {request.get('kind')}: {error}; it is "
                    "started again by the next request"
                ) from error
        if "error" in reply:
            name = request.get("function", request.get("kind"))
            raise ForkFailedError(f"{name}: {reply['error']}\n{reply.get('trace', '')}".strip())
        return reply, out

    def call(
        self, function: str, arguments: dict[str, Any], block: bytes = b"", timeout_s: float = 600.0
    ) -> tuple[Any, bytes]:
        """Run one of this room's functions, `module:name`, in a fork.

        The function takes (arguments, block) and returns (JSON value, bytes).

        Raises:
            ZygoteError: It raised, took longer than `timeout_s`, or its process died.
        """
        request = {"kind": "call", "function": function, "arguments": arguments,
                   "timeout_s": timeout_s}  # fmt: skip
        reply, out = self.ask(request, block)
        return reply["answer"], out


def _more_paths() -> list[str]:
    """Return import paths that were added to this process from outside."""
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]

"""Compiling processes and their time-outs."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from models.errors import ConfigError, ServiceError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler.result import CompileResult
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.profiles import DeviceProfile

START_S = 120.0
"""Seconds that a worker may take to import Triton."""


class CompileWorker:
    """One compiling process with a Triton cache of its own."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._answers = -1
        self._text = ""

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kernel-compile-")
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("TRITON_")
        }
        environment |= {"TRITON_CACHE_DIR": self._folder.name, "OMP_NUM_THREADS": "1"}
        ours, theirs = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "models.kernels.compiler.worker", str(theirs)],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                text=True, env=environment, pass_fds=(theirs,), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(theirs)
        self._answers, self._text = ours, ""
        if self._line(START_S) != "ready":
            self.close()
            raise ServiceError(f"no compiling process within {START_S:.0f} s; is triton installed?")

    def _line(self, timeout_s: float) -> str | None:
        """Return the next line of answers; None: it took too long or the process ended."""
        deadline = time.monotonic() + timeout_s
        while "\n" not in self._text:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._answers], [], [], left)[0]:
                return None
            block = os.read(self._answers, 1 << 16)
            if not block:
                return None
            self._text += block.decode("utf-8", "replace")
        line, _, self._text = self._text.partition("\n")
        return line

    def compile(self, request: dict[str, Any], timeout_s: float) -> CompileResult:
        """Compile one kernel; the process is ended when it takes longer than `timeout_s`."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        began = time.monotonic()
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._line(timeout_s)
        if line is not None:
            return CompileResult.model_validate_json(line)
        is_timeout = self._process.poll() is None and time.monotonic() - began >= timeout_s
        said = (
            f"no end within {timeout_s:g} s"
            if is_timeout
            else f"the compiling process ended with {self._process.wait(5)}"
        )
        self.close()
        return CompileResult(
            sha=request["candidate"]["sha"], kernel=request["kernel"],
            profile=request["profile"]["name"], signature=request["signature"], ok=False,
            stage_reached="load",
            elapsed_s=time.monotonic() - began, error_class="timeout" if is_timeout else "crash",
            error_excerpt=said,
        )  # fmt: skip

    def close(self) -> None:
        """End the process and remove its cache."""
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
            self._process = None
        if self._answers >= 0:
            os.close(self._answers)
            self._answers = -1
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class CompilePool:
    """A compiling process kept between kernels; use as a context manager."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        if timeout_s <= 0:
            raise ConfigError(f"timeout_s is {timeout_s}; give seconds above 0")
        self.timeout_s = timeout_s
        self._worker = CompileWorker()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the compiling process."""
        self._worker.close()

    def compile(
        self, candidate: KernelCandidate, launch: LaunchRecord, profile: DeviceProfile
    ) -> CompileResult:
        """Compile the kernel of a recorded launch for a profile; see `compile_kernel`."""
        if profile.kind == "interpreter":
            raise ConfigError(
                "the interpreter profile has no compiler; choose sm80, gfx942 or a dialect"
            )
        request = {
            "candidate": candidate.model_dump(mode="json"),
            "profile": profile.model_dump(mode="json"),
            "kernel": launch.kernel, "signature": launch.signature, "constexprs": launch.constexprs,
            "options": launch.options,
        }  # fmt: skip
        return self._worker.compile(request, self.timeout_s)

    def matrix(
        self,
        candidate: KernelCandidate,
        launches: Iterable[LaunchRecord],
        profiles: Iterable[DeviceProfile],
    ) -> list[CompileResult]:
        """Compile every launch for every profile, in order."""
        kept = list(profiles)
        return [self.compile(candidate, launch, profile) for launch in launches for profile in kept]


def compile_kernel(
    candidate: KernelCandidate,
    launch: LaunchRecord,
    profile: DeviceProfile,
    timeout_s: float = 60.0,
) -> CompileResult:
    """Compile one kernel in a process of its own.

    Args:
        candidate: The module; lint it before, for loading it runs its top level.
        launch: Kernel, signature and constexprs, as an execution recorded them.
        profile: sm80, sm90, sm100 give a cubin, gfx942, gfx1100 an hsaco; a dialect is judged by
            Triton's IR: doubles, atomics, block sizes, scatter stores.
        timeout_s: Wall seconds for the compile, after the process has started.

    Raises:
        ConfigError: The profile has no compiler.
        ServiceError: The compiling process does not start.
    """
    with CompilePool(timeout_s) as pool:
        return pool.compile(candidate, launch, profile)

"""A contestant in a process of its own, seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from models.errors import ServiceError
from models.inference.bench.engine import Score, Setup
from models.settings import ROOT

QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class ContestantError(ServiceError):
    """An engine could not be loaded, or failed in a run."""


class ContestantProcess:
    """Loads an engine when entered, ends it when left.

    Attributes:
        about: What the engine says of itself.
        load_cpu_s: CPU seconds to import, load and compile.
    """

    def __init__(self, setup: Setup, log: Path) -> None:
        """Take what to load.

        Args:
            setup: The engine.
            log: File for what it prints.
        """
        self._setup, self._log = setup, log
        self.about, self.load_cpu_s = "", 0.0

    def __enter__(self) -> ContestantProcess:
        threads = str(self._setup.threads)
        reading, writing = os.pipe()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "models.inference.bench.child", str(writing)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                env={
                    **os.environ,
                    **QUIET,
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "VLLM_CACHE_ROOT": str(self._setup.cache / "vllm"),
                },
            )
        os.close(writing)
        self._answers = os.fdopen(reading, "rb")
        said = self._ask({**asdict(self._setup), "cache": str(self._setup.cache)})
        self.about, self.load_cpu_s = said["about"], said["load_cpu_s"]
        return self

    def run(self, contest: Path, options: dict[str, Any]) -> Score:
        """Run a written contest.

        Raises:
            ContestantError: The engine failed.
        """
        return Score(**self._ask({"contest": str(contest), "options": options}))

    def _ask(self, values: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(orjson.dumps(values) + b"\n")
            self._process.stdin.flush()
            line = self._answers.readline()
        except BrokenPipeError:
            line = b""
        said: dict[str, Any] = orjson.loads(line) if line else {"error": "its process died"}
        if "error" in said:
            self.__exit__(None, None, None)
            raise ContestantError(
                f"{self._setup.engine} failed: {said['error'][:500]}; see {self._log}"
            )
        return said

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()

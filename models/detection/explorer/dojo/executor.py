"""What the search uses: AgentDojo behind walls, asked line by line."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import select
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from models.detection.explorer.declared import declared
from models.detection.explorer.dojo.scenes import Shown, cells_of, fit
from models.detection.explorer.dojo.scenes import declared as dojo_declared
from models.detection.explorer.dojo.stage import DojoPlay, decoded
from models.detection.explorer.dojo.suites import check_installed
from models.detection.explorer.dojo.worker import Answer, Opened, Played
from models.detection.explorer.genome import Genome
from models.detection.explorer.victim import Victim
from models.errors import DataError, ServiceError
from models.sandbox import BubblewrapSandbox, Limits, LocalSandbox, SandboxUnavailableError
from models.sandbox.bubblewrap import usable_bwrap
from models.sandbox.process import ProcessSandbox, Streams
from models.settings import ROOT

ORIGIN = "agentdojo"
"""Marks findings: public test sessions stem from the same suites."""
_WORKER = "models.detection.explorer.dojo.worker"
_LONGEST_ANSWER_S = 120.0
_LIMITS = Limits(cpu_s=None, file_bytes=1024**2, processes=64)
_READ_BYTES = 1 << 20


class AgentDojo:
    """Plays attacks in AgentDojo's environments, in a process of its own.

    Args:
        suites: AgentDojo's.
        walls: Where it runs; auto: in a sandbox without network where this host has one.

    Raises:
        ConfigError: The extra is not installed; it tells how to install it.
        SandboxUnavailableError: A sandbox was asked for and there is none.
        ServiceError: The process did not begin.
    """

    origin = ORIGIN

    def __init__(
        self, suites: Sequence[str], *, walls: Literal["auto", "sandbox", "none"] = "auto"
    ) -> None:
        check_installed()
        self._folder = tempfile.TemporaryDirectory(prefix="loom-dojo-")
        self._box = _sandbox(Path(self._folder.name), walls)
        self.is_walled = self._box.level == "sandboxed"
        """It runs in a sandbox."""
        given, self._to = os.pipe()
        self._from, answers = os.pipe()
        self._rest = b""
        # Tasks of AgentDojo list sets: the order of these must not change from start to start.
        env = {"PYTHONPATH": _path(), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
        env = self._box.environment(env)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        fds = {0: given, 1: answers, 2: self._errors.fileno()}
        try:
            self._running = self._box.start([sys.executable, "-m", _WORKER], env, Streams(fds))
        finally:
            os.close(given)
            os.close(answers)
        self._shown = msgspec.json.decode(self._ask(Opened(tuple(suites))), type=list[Shown])
        goals = {
            one.id: [goal.name for goal in one.goals] for one in declared().techniques.values()
        }
        self.cells = cells_of(self._shown, declared().cells(), goals)
        """Technique and carrier of each attack that it can play."""

    @property
    def digest(self) -> str:
        """Of what is declared here and there, and of AgentDojo's version."""
        parts = (declared().digest, dojo_declared().digest, importlib.metadata.version("agentdojo"))
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:12]

    def fit(self, genome: Genome) -> Genome | None:
        """Return the nearest genome that it can play; None: there is none of this goal."""
        return fit(genome, self._shown)

    def play(self, genome: Genome, seed: str, victim: Victim, *, obeys: bool = True) -> DojoPlay:
        """Play a session; see `play_in_dojo`.

        Raises:
            DataError: There is no scene for this genome.
            ServiceError: The process ended, or took too long.
        """
        return decoded(self._ask(Played(genome, seed, victim.name, obeys)))

    def close(self) -> None:
        """End the process."""
        os.close(self._to)
        self._box.finish(self._running)
        self._box.close()
        os.close(self._from)
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, request: Opened | Played) -> bytes:
        try:
            line = msgspec.json.encode(request) + b"\n"
            while line:
                line = line[os.write(self._to, line) :]
            answer = msgspec.json.decode(self._line(), type=Answer)
        except (BrokenPipeError, EOFError, TimeoutError) as error:
            self._errors.seek(0)
            words = self._errors.read().decode("utf-8", "replace").strip().splitlines()
            raise ServiceError(
                f"the process that plays AgentDojo gave no answer ({error or type(error).__name__})"
                f"; its last words: {words[-1] if words else 'none'}"
            ) from None
        if answer.kind == "error":
            raise DataError(msgspec.json.decode(answer.value, type=str))
        return bytes(answer.value)

    def _line(self) -> bytes:
        deadline = time.monotonic() + _LONGEST_ANSWER_S
        pieces = [self._rest]
        while b"\n" not in pieces[-1]:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise TimeoutError(f"{_LONGEST_ANSWER_S:g} s went by")
            piece = os.read(self._from, _READ_BYTES)
            if not piece:
                raise EOFError("it ended")
            pieces.append(piece)
        line, _, self._rest = b"".join(pieces).partition(b"\n")
        return line


def _sandbox(folder: Path, walls: str) -> ProcessSandbox:
    if walls != "none":
        try:
            usable_bwrap()
        except SandboxUnavailableError:
            if walls == "sandbox":
                raise
        else:
            readable = [ROOT, Path(sys.prefix), Path(sys.base_prefix), _package()]
            return BubblewrapSandbox(folder, _LIMITS, readable=readable)
    return LocalSandbox(folder, _LIMITS)


def _package() -> Path:
    """Return the folder that AgentDojo is imported from."""
    found = importlib.util.find_spec("agentdojo")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).resolve().parent.parent


def _path() -> str:
    package = _package()
    own = [] if package.is_relative_to(Path(sys.prefix).resolve()) else [package]
    return os.pathsep.join(str(path) for path in (ROOT, *own))

"""The two executors that are shipped: one simulates, one does nothing."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from models.errors import DataError, ProjectError
from models.upgrades.execute.base import Progress, Work


class AlreadyStartedError(ProjectError):
    """A task was started twice: a fault of the caller that a host must never see."""


class WorldFileError(DataError):
    """The file of a simulated fleet is not what a simulated fleet wrote."""


@dataclass(frozen=True)
class _Run:
    start_s: int
    rollback_s: int | None = None


class SimulatedExecutor:
    """Plays upgrades whose durations are given.

    What was started is kept in `file` where one is given: the hosts of a fleet do not forget
    when the controller dies, so a simulated fleet must not either.

    Args:
        duration_s: How long each task takes, in seconds, by name.
        failing: Tasks that fail at their end.
        rollback_s: How long a rollback takes, in seconds; or by type, 0 where absent.
        failing_rollbacks: Tasks whose rollback fails too.
        file: JSON lines of what was started and rolled back, each synced to disk. A torn last
            line, left by a process that died while it wrote, never happened.

    Raises:
        WorldFileError: Another line of the file cannot be read.
    """

    name = "simulated"

    def __init__(
        self,
        duration_s: Mapping[str, float],
        failing: Iterable[str] = (),
        rollback_s: int | Mapping[str, int] = 0,
        failing_rollbacks: Iterable[str] = (),
        file: Path | None = None,
    ) -> None:
        self._duration_s = duration_s
        self._failing, self._failing_rollbacks = frozenset(failing), frozenset(failing_rollbacks)
        self._rollback_s = rollback_s
        self._file = file
        self._runs: dict[str, _Run] = {}
        if file is not None and file.exists():
            self._remember(file)

    def start(self, work: Work, at_s: int) -> None:
        """Begin the upgrade.

        Raises:
            AlreadyStartedError: It was started before.
        """
        if work.task in self._runs:
            raise AlreadyStartedError(
                f"task {work.task} on {work.host} was started at {self._runs[work.task].start_s} "
                f"and is started again at {at_s}; continue from the audit log instead"
            )
        self._note(work.task, "start", at_s)

    def poll(self, work: Work, at_s: int) -> Progress:
        """Say how far the upgrade is."""
        run = self._runs.get(work.task)
        if run is None:
            return Progress.UNKNOWN
        is_over = at_s >= self.changes_s(work)
        if run.rollback_s is not None:
            if not is_over:
                return Progress.ROLLING_BACK
            failed = work.task in self._failing_rollbacks
            return Progress.ROLLBACK_FAILED if failed else Progress.ROLLED_BACK
        if not is_over:
            return Progress.RUNNING
        return Progress.FAILED if work.task in self._failing else Progress.COMPLETED

    def changes_s(self, work: Work) -> float:
        """When the upgrade or its rollback ends, in seconds; -inf if it was never started."""
        run = self._runs.get(work.task)
        if run is None:
            return -math.inf
        if run.rollback_s is None:
            return run.start_s + self._duration_s[work.task]
        given = self._rollback_s
        return run.rollback_s + (given if isinstance(given, int) else given.get(work.type, 0))

    def rollback(self, work: Work, at_s: int) -> None:
        """Begin to undo the upgrade; a second request changes nothing."""
        if work.task in self._runs and self._runs[work.task].rollback_s is None:
            self._note(work.task, "rollback", at_s)

    def _remember(self, file: Path) -> None:
        text = file.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            # The next line would be glued to it otherwise.
            os.truncate(file, whole)
        for number, line in enumerate(text[:whole].splitlines(), start=1):
            try:
                said = json.loads(line)
                self._take(said["task"], said["what"], int(said["at_s"]))
            except (ValueError, KeyError, TypeError):
                raise WorldFileError(
                    f"line {number} of {file} is no entry of a simulated fleet: the file was "
                    "changed after it was written; move it and the audit log beside it away and "
                    "simulate anew"
                ) from None

    def _note(self, task: str, what: str, at_s: int) -> None:
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a", encoding="utf-8") as file:
                file.write(json.dumps({"task": task, "what": what, "at_s": at_s}) + "\n")
                file.flush()
                os.fsync(file.fileno())
        self._take(task, what, at_s)

    def _take(self, task: str, what: str, at_s: int) -> None:
        start_s = at_s if what == "start" else self._runs[task].start_s
        self._runs[task] = _Run(start_s, at_s if what == "rollback" else None)


class NoOpExecutor:
    """Does nothing; lets every task take exactly the time that was reserved for it.

    Args:
        rollback_s: How long a rollback is said to take, in seconds, by type; 0 where absent.
    """

    name = "no-op"

    def __init__(self, rollback_s: Mapping[str, int] | None = None) -> None:
        self._start_s: dict[str, int] = {}
        self._rollback_s = rollback_s or {}
        self._asked_s: dict[str, int] = {}

    def start(self, work: Work, at_s: int) -> None:
        """Remember the start, touch nothing."""
        self._start_s[work.task] = at_s

    def poll(self, work: Work, at_s: int) -> Progress:
        """Say that the task runs until its reservation ends, and then is done."""
        is_over = at_s >= self.changes_s(work)
        if work.task in self._asked_s:
            return Progress.ROLLED_BACK if is_over else Progress.ROLLING_BACK
        if work.task not in self._start_s:
            return Progress.UNKNOWN
        return Progress.COMPLETED if is_over else Progress.RUNNING

    def changes_s(self, work: Work) -> float:
        """When its reservation or its rollback ends, in seconds; -inf if it was never started."""
        if work.task in self._asked_s:
            return self._asked_s[work.task] + self._rollback_s.get(work.type, 0)
        return self._start_s.get(work.task, -math.inf) + work.reserved_s

    def rollback(self, work: Work, at_s: int) -> None:
        """Remember the request, touch nothing."""
        self._asked_s.setdefault(work.task, at_s)

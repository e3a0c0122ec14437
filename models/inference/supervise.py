"""Keeps a shard going whatever happens to its engine processes.

A process that dies is replaced by a fresh one that gets what is left. When that one dies too,
what is left is halved, and halved again, until the row that kills stands alone; alone it gets
two more tries and then an error of its own. Rows that had finished stay finished throughout.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.errors import ConfigError, DataError, ProjectError, ServiceError, StorageFullError
from models.inference import worker
from models.inference.backends.base import Counters
from models.inference.engine_process import GRACE_S, Start, cause_of, end_process, start_process
from models.inference.job_state import JobSpec, Keys, ask_to_stop, stop_reason
from models.inference.journal import Journal
from models.inference.lease import Beat, read_beat
from models.inference.memory import KvBudget
from models.inference.outcome import Failure, Finished
from models.inference.partials import with_emitted
from models.inference.plan_file import read_plan, write_plan
from models.inference.planner import plan_job
from models.inference.turns import supervising
from models.inference.worker import WorkerTask

POLL_S = 0.2
LOAD_TRIES = 2
ALONE_TRIES = 2
KV_AFTER_KILL = 0.8
"""A process that the kernel killed most likely took too much memory."""


class EngineDiedError(ServiceError):
    """Engine processes die before they begin to work."""


@dataclass
class ShardReport:
    """What running a shard took.

    Attributes:
        shard: Which.
        rows, failed: Rows that finished; of them, with an error.
        output_tokens: Tokens emitted.
        counters: Work of all its processes.
        deaths: Processes that died.
        quarantined: Prompts that kill the engine.
        folders: One per process.
        is_complete: Whether every row finished.
    """

    shard: int
    rows: int = 0
    failed: int = 0
    output_tokens: int = 0
    counters: Counters = field(default_factory=Counters)
    deaths: int = 0
    quarantined: list[int] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    is_complete: bool = False


@dataclass
class _Item:
    """Prompts for one process, None: the shard as planned; and how often that died."""

    prompts: NDArray[np.int64] | None
    deaths: int
    kv_bytes: int


Tell = Callable[[ShardReport], None]


class Supervisor:
    """Runs one shard of a job's plan to its end.

    Args:
        folder: Of the job.
        shard: Which shard.
        tell: Hears of progress.
        start: Starts a process on a folder with a task.
    """

    def __init__(
        self, folder: Path, shard: int, tell: Tell | None = None, start: Start = start_process
    ) -> None:
        self._folder, self._shard, self._start = folder, shard, start
        self._tell = tell or (lambda report: None)
        self._spec, self._keys = JobSpec.read(folder), Keys(folder)
        self._budget = read_plan(folder / "plan").budget
        self.report = ShardReport(shard)
        self._load_deaths = 0

    def run(self) -> ShardReport:
        """Run until every row finished, or somebody asked to stop.

        Raises:
            EngineDiedError: No process gets as far as its first row.
            ProjectError: What a process said that a person must mend.
        """
        with supervising(self._folder, self._shard):
            return self._run(self._first())

    def _first(self) -> list[_Item]:
        """The shard as planned, or what another supervisor left of it when it died."""
        item = _Item(None, 0, self._budget.bytes)
        for folder in sorted((self._folder / "shards").glob(f"{self._shard}-*")):
            self.report.folders.append(folder)
            self._add(read_beat(folder / worker.BEAT))
            self.report.deaths += 1
        if not self.report.folders:
            return [item]
        rest = self._unfinished(item)
        return [replace(item, prompts=rest)] if len(rest) else []

    def _run(self, items: list[_Item]) -> ShardReport:
        while items and stop_reason(self._folder) is None:
            item = items.pop(0)
            code, last = self._run_process(item)
            self._add(last)
            if code == worker.STOPPED:
                ask_to_stop(self._folder, "an engine process was asked to end")
            if code in (worker.DONE, worker.STOPPED):
                continue
            if code == worker.REFUSED:
                raise self._refusal()
            self.report.deaths += 1
            self._check_loading(last, code, self.report.folders[-1])
            rest = self._unfinished(item)
            if len(rest):
                items = self._after_death(item, rest, code) + items
        self.report.is_complete = stop_reason(self._folder) is None
        self._tell(self.report)
        return self.report

    def _run_process(self, item: _Item) -> tuple[int, Beat | None]:
        folder = self._prepare(item)
        self.report.folders.append(folder)
        process = self._start(folder)
        try:
            return self._watch(process, folder / worker.BEAT), read_beat(folder / worker.BEAT)
        finally:
            end_process(process)

    def _prepare(self, item: _Item) -> Path:
        """Write what the next process is to do."""
        number = len(self.report.folders)
        folder = self._folder / "shards" / f"{self._shard}-{number}-{time.time_ns()}"
        plan, shard, only = self._folder / "plan", self._shard, None
        if item.prompts is not None and self._spec.keeps_plan:
            only = item.prompts.tolist()
        elif item.prompts is not None:
            job = self._spec.open_input()
            budget = KvBudget(item.kv_bytes, self._budget.token_bytes)
            todo, loads = np.sort(item.prompts), job.rows.loads()
            if self._spec.config.checkpoint_tokens is not None:
                loads = with_emitted(loads, self._folder, self._keys, todo)
            found = plan_job(job.prompts, loads, budget, self._spec.config, todo=todo)
            plan, shard = write_plan(found, folder / "plan"), 0
        name = f"shard-{self._shard}-{number}"
        task = WorkerTask(
            *(self._folder, plan, shard, name, item.kv_bytes, self._shard, os.getpid(), only)
        )
        task.write(folder)
        return folder

    def _watch(self, process: subprocess.Popen[bytes], beat_file: Path) -> int:
        """Wait for a process; stop it when asked, kill it when it gives no sign of life."""
        config, began = self._spec.config, time.time()
        seen, moved_at, asked_at = (-1, -1), time.monotonic(), 0.0
        while True:
            try:
                return process.wait(POLL_S)
            except subprocess.TimeoutExpired:
                pass
            beat = read_beat(beat_file)
            if beat is not None:
                self._tell(self._with(beat))
                moved = (beat.counters.steps, beat.rows)
                if moved != seen or beat.phase != "run":
                    seen, moved_at = moved, time.monotonic()
            if asked_at == 0.0 and stop_reason(self._folder) is not None:
                process.terminate()
                asked_at = time.monotonic()
            is_late = time.time() - max(began, beat.at if beat else began) > config.lease_s
            is_stuck = time.monotonic() - moved_at > config.stall_s
            if is_late or is_stuck or (asked_at and time.monotonic() - asked_at > GRACE_S):
                process.kill()

    def _with(self, beat: Beat) -> ShardReport:
        """Return the report as it would be if the running process ended now."""
        report = self.report
        return replace(
            report,
            rows=report.rows + beat.rows,
            failed=report.failed + beat.failed,
            output_tokens=report.output_tokens + beat.output_tokens,
            counters=report.counters + beat.counters,
        )

    def _add(self, beat: Beat | None) -> None:
        if beat is not None:
            self.report = self._with(beat)
            self.report.counters.kv_bytes = 0

    def _check_loading(self, last: Beat | None, code: int, folder: Path) -> None:
        if last is not None and last.phase != "load":
            self._load_deaths = 0
            return
        self._load_deaths += 1
        if self._load_deaths >= LOAD_TRIES:
            said = (folder / worker.LOG).read_bytes()[-1_500:].decode("utf-8", "replace").strip()
            raise EngineDiedError(
                f"{self._load_deaths} engine processes in a row died while they loaded "
                f"({cause_of(code)}); the last one said: {said or 'nothing'}; see {folder}"
            )

    def _after_death(self, item: _Item, rest: NDArray[np.int64], code: int) -> list[_Item]:
        kv_bytes, deaths = item.kv_bytes, item.deaths + 1
        if code in (worker.OUT_OF_MEMORY, -signal.SIGKILL):
            kv_bytes = max(int(kv_bytes * KV_AFTER_KILL), self._least(rest))
        if len(rest) == 1:
            # Deaths in company say little about a row.
            deaths = deaths if item.prompts is not None and len(item.prompts) == 1 else 0
            if deaths >= ALONE_TRIES:
                self._quarantine(int(rest[0]), code)
                return []
            return [_Item(rest, deaths, kv_bytes)]
        if deaths < 2:
            return [_Item(rest, deaths, kv_bytes)]
        half = len(rest) // 2
        return [_Item(part, deaths, kv_bytes) for part in (rest[:half], rest[half:])]

    def _least(self, prompts: NDArray[np.int64]) -> int:
        """KV bytes that the largest of some rows needs."""
        job = self._spec.open_input()
        loads = job.rows.loads()
        whole = job.prompts.lengths + loads.output_tokens * loads.forks
        return int(whole[prompts].max()) * self._budget.token_bytes

    def _unfinished(self, item: _Item) -> NDArray[np.int64]:
        """Return what is left of an item, in the order of the plan."""
        prompts = item.prompts
        if prompts is None:
            plan = read_plan(self._folder / "plan")
            part = plan.shards[self._shard]
            prompts = plan.rows.prompt[part.first_row : part.end_row]
        journal = Journal.look(self._folder / "journal")
        left = [int(p) for p in prompts if self._keys[int(p)] not in journal.places]
        return np.array(left, np.int64)

    def _quarantine(self, prompt: int, code: int) -> None:
        self.report.quarantined.append(prompt)
        self.report.rows += 1
        self.report.failed += 1
        message = (
            f"the engine process died {ALONE_TRIES} times on this row alone ({cause_of(code)}); "
            "the row was left out, the others went on"
        )
        config = self._spec.config
        writer = Journal(self._folder / "journal").writer(
            f"quarantine-{self._shard}", config.flush_rows, config.flush_s
        )
        writer.add(self._keys[prompt], Finished(failure=Failure("engine_failure", message)))
        writer.close()

    def _refusal(self) -> ProjectError:
        """Return the error that a process left behind."""
        said: dict[str, Any] = orjson.loads((self.report.folders[-1] / worker.ERROR).read_bytes())
        if said["type"] == StorageFullError.__name__:
            return StorageFullError(said["message"])
        kinds = {2: ConfigError, 3: DataError, 4: ServiceError}
        return kinds.get(said["code"], ServiceError)(said["message"])


def run_shard(folder: Path, shard: int) -> ShardReport:
    """Run a shard of a job to its end, wherever its folder can be reached."""
    return Supervisor(folder, shard).run()


def newest_beats(folder: Path, n_shards: int) -> list[ShardReport]:
    """Add up the signs of life of each shard's processes, for who watches from elsewhere."""
    reports = []
    for shard in range(n_shards):
        report = ShardReport(shard)
        for file in sorted((folder / "shards").glob(f"{shard}-*/{worker.BEAT}")):
            beat = read_beat(file)
            if beat is not None:
                report.rows += beat.rows
                report.failed += beat.failed
                report.output_tokens += beat.output_tokens
                report.counters = report.counters + beat.counters
        reports.append(report)
    return reports

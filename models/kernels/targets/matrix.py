"""The compile matrix: every kernel of passing modules, for every target, without hardware."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import Protocol

from models.config import Config
from models.errors import ConfigError
from models.kernels.candidate import KernelCandidate
from models.kernels.compiler import CompilePool, CompileResult
from models.kernels.execute.recorder import LaunchRecord
from models.kernels.profiles import DeviceProfile
from models.kernels.targets.effort import expected_effort

GPU_TARGETS = ("sm80", "sm90", "sm100", "gfx942", "gfx1100")
"""Profiles of the published matrix."""
MATRIX_VERSION = "1"
"""Part of every key: raised when the way of compiling changes."""
_NOT_KEPT = ("timeout", "crash")
"""What a busy machine may be to blame for: compiled again by the next run."""


class MatrixRow(Config):
    """One kernel under one signature for one target."""

    op_id: str
    key: str
    """Of module, kernel, signature, target and versions: equal questions have equal keys."""
    result: CompileResult
    was_known: bool
    """Found in the store, not compiled by this run."""


class CompileStore(Protocol):
    """Results of earlier runs by key."""

    def get(self, key: str) -> CompileResult | None:
        """Return a result; None: there is none."""
        ...

    def put(self, key: str, result: CompileResult) -> None:
        """Keep a result."""
        ...


@dataclass(frozen=True)
class Job:
    """One compile of the matrix."""

    candidate: KernelCandidate
    launch: LaunchRecord
    target: DeviceProfile
    conditions: str
    """Hash of the target and the versions."""

    @cached_property
    def key(self) -> str:
        """Hash of what decides the result."""
        asked = {
            "sha": self.candidate.sha, "kernel": self.launch.kernel,
            "signature": self.launch.signature, "constexprs": self.launch.constexprs,
            "options": self.launch.options, "conditions": self.conditions,
        }  # fmt: skip
        return _hash(json.dumps(asked, sort_keys=True, default=str))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _conditions(target: DeviceProfile) -> str:
    import triton

    values = target.model_dump(mode="json")
    # Sets of a profile dump in no fixed order.
    values |= {name: sorted(values[name]) for name in ("tl_allow", "torch_allow")}
    versions = [triton.__version__, MATRIX_VERSION]
    return _hash(json.dumps([values, versions], sort_keys=True))


def chosen_signatures(launches: Iterable[LaunchRecord], most: int) -> list[LaunchRecord]:
    """Return the launches of each kernel to compile: different types first, then block sizes.

    Args:
        launches: As execution recorded them; those that differ in their grid only count as one.
        most: Launches per kernel.
    """
    by_kernel: dict[str, dict[str, LaunchRecord]] = {}
    for launch in launches:
        asked = [launch.signature, launch.constexprs, launch.options]
        own = by_kernel.setdefault(launch.kernel, {})
        own.setdefault(json.dumps(asked, sort_keys=True, default=str), launch)
    chosen: list[LaunchRecord] = []
    for name in sorted(by_kernel):
        seen: set[str] = set()
        firsts: list[LaunchRecord] = []
        others: list[LaunchRecord] = []
        for key in sorted(by_kernel[name]):
            launch = by_kernel[name][key]
            types = json.dumps(launch.signature, sort_keys=True)
            (others if types in seen else firsts).append(launch)
            seen.add(types)
        chosen += [*firsts, *others][:most]
    return chosen


def compile_matrix(
    candidates: Iterable[KernelCandidate],
    launches: Mapping[str, Sequence[LaunchRecord]],
    targets: Sequence[DeviceProfile],
    pools: Sequence[CompilePool],
    most_signatures: int = 3,
    store: CompileStore | None = None,
    note: Callable[[MatrixRow], None] | None = None,
) -> list[MatrixRow]:
    """Compile every kernel of every module for every target, the longest first.

    A killed run goes on by its store: what is in there is not compiled again.

    Args:
        candidates: Modules that passed; lint them before, for compiling loads them.
        launches: Recorded launches by `sha`, as `TestReport.launches` gives them. A module
            without launches (views alone) has no rows.
        targets: Device profiles with a compiler.
        pools: Compiling processes, one thread each.
        most_signatures: Launches per kernel that are compiled.
        store: Results of earlier runs.
        note: Told each row as it comes, one at a time, from any thread.

    Returns:
        Rows by operator, kernel and target.

    Raises:
        ConfigError: There is no pool, or a target without a compiler.
    """
    if not pools or most_signatures < 1:
        raise ConfigError(
            f"a matrix needs a compiling process and a signature per kernel, got {len(pools)} "
            f"and {most_signatures}; give at least one of each"
        )
    for target in targets:
        if target.kind == "interpreter":
            raise ConfigError(f"{target.name} has no compiler; choose of {', '.join(GPU_TARGETS)}")
    conditions = [_conditions(target) for target in targets]
    asked = (
        Job(candidate, launch, target, condition)
        for candidate in candidates
        for launch in chosen_signatures(launches.get(candidate.sha, ()), most_signatures)
        for target, condition in zip(targets, conditions, strict=True)
    )
    jobs = {job.key: job for job in asked}
    run = _Run(store, note)
    waiting = [job for job in jobs.values() if not run.is_known(job)]
    waiting.sort(key=lambda job: (-expected_effort(job.candidate, job.launch, job.target), job.key))
    run.work(waiting, pools)
    order = {key: place for place, key in enumerate(jobs)}
    return sorted(run.rows, key=lambda row: order[row.key])


class _Run:
    """Rows of one run, shared by its threads."""

    def __init__(
        self, store: CompileStore | None, note: Callable[[MatrixRow], None] | None
    ) -> None:
        self.rows: list[MatrixRow] = []
        self._store, self._note, self._lock = store, note, Lock()
        self._error: BaseException | None = None

    def is_known(self, job: Job) -> bool:
        """Take the result of an earlier run, if there is one."""
        found = self._store.get(job.key) if self._store else None
        if found is not None:
            self._add(MatrixRow(op_id=job.candidate.op_id, key=job.key, result=found,
                                was_known=True))  # fmt: skip
        return found is not None

    def work(self, jobs: Sequence[Job], pools: Sequence[CompilePool]) -> None:
        """Compile jobs in their order, as many at a time as there are pools."""
        queue: SimpleQueue[Job] = SimpleQueue()
        for job in jobs:
            queue.put(job)
        threads = [Thread(target=self._serve, args=(queue, pool)) for pool in pools]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _serve(self, queue: SimpleQueue[Job], pool: CompilePool) -> None:
        try:
            while self._error is None:
                job = queue.get_nowait()
                result = pool.compile(job.candidate, job.launch, job.target)
                if self._store is not None and result.error_class not in _NOT_KEPT:
                    self._store.put(job.key, result)
                self._add(MatrixRow(op_id=job.candidate.op_id, key=job.key, result=result,
                                    was_known=False))  # fmt: skip
        except Empty:
            return
        except BaseException as error:
            # Raised again by the thread that asked; the others stop at their next job.
            self._error = error

    def _add(self, row: MatrixRow) -> None:
        with self._lock:
            self.rows.append(row)
            if self._note is not None:
                self._note(row)

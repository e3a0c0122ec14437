"""An engine process: runs one shard of a plan and appends to the journal of its job.

`python -m models.inference.worker FOLDER`, where FOLDER holds `task.json`. Exit codes:
0 all rows finished, 75 asked to stop (everything that finished is kept), 71 out of memory,
65 an error that a person must mend (`error.json`). Anything else is a death: the supervisor
starts another process.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

import orjson

from models.errors import ProjectError
from models.inference.backends.base import Backend, StopRequestedError, Watch, Work
from models.inference.job_config import JobConfig
from models.inference.job_state import PARTIALS, JobSpec, Keys, write_json
from models.inference.journal import Journal
from models.inference.lease import Heart, Tally
from models.inference.local_model import find_model
from models.inference.outcome import Finished
from models.inference.partials import Checkpoints, PartialWriter, read_begun
from models.inference.plan import Plan
from models.inference.plan_file import read_plan
from models.inference.turns import running

DONE, REFUSED, OUT_OF_MEMORY, STOPPED = 0, 65, 71, 75
TASK, BEAT, ERROR, TRACE, LOG = "task.json", "beat.json", "error.json", "trace.parquet", "log.txt"
PATIENCE_S = 60.0
"""Time for an earlier process of the shard to end."""

BACKENDS = {
    "native": "models.inference.backends.native:NativeBackend",
    "vllm": "models.inference.backends.vllm:VllmBackend",
    "openai_http": "models.inference.backends.openai_http:HttpBackend",
}


@dataclass(frozen=True)
class WorkerTask:
    """What one engine process is to do.

    Attributes:
        job: Folder of the job.
        plan: Folder of the plan.
        shard: Which of its shards.
        name: Of the journal segment.
        kv_bytes: KV budget.
        place: Number of the shard in the job's plan, whatever plan it runs.
        parent: Process that started this one.
        only: Prompts of the shard to run; None: all.
    """

    job: Path
    plan: Path
    shard: int
    name: str
    kv_bytes: int
    place: int
    parent: int
    only: list[int] | None = None

    def write(self, folder: Path) -> None:
        """Write it to a process's folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / TASK, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> WorkerTask:
        """Read it back."""
        values = orjson.loads((folder / TASK).read_bytes())
        return cls(**{**values, "job": Path(values["job"]), "plan": Path(values["plan"])})


def run_task(folder: Path) -> int:
    """Run what `task.json` says; returns the exit code."""
    watch, tally = Watch(), Tally()

    def stop(_signal: int, _frame: object) -> None:
        watch.is_stopping = True

    before = signal.signal(signal.SIGTERM, stop)
    # Ctrl-C in a terminal reaches every process of it; the supervisor decides.
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        task = WorkerTask.read(folder)
        with (
            Heart(folder / BEAT, watch, tally, task.parent) as heart,
            running(task.job, task.place, PATIENCE_S),
        ):
            if os.getppid() != task.parent:  # it died before we began: another one is at it
                return STOPPED
            return _run(task, folder, watch, tally, heart)
    except StopRequestedError:
        return STOPPED
    except MemoryError:
        return OUT_OF_MEMORY
    except ProjectError as error:
        said = {"type": type(error).__name__, "message": str(error), "code": error.exit_code}
        write_json(folder / ERROR, said)
        return REFUSED
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ignored)


def _run(task: WorkerTask, folder: Path, watch: Watch, tally: Tally, heart: Heart) -> int:
    spec = JobSpec.read(task.job)
    job, keys, plan = spec.open_input(), Keys(task.job), read_plan(task.plan)
    config = spec.config
    partials = PartialWriter(task.job / PARTIALS, task.name, config.flush_rows, config.flush_s)
    work = Work(
        prompts=job.prompts,
        samplings=spec.samplings(job),
        model=find_model(spec.model, spec.cache),
        config=config,
        kv_bytes=task.kv_bytes,
        threads=spec.threads,
        cache=spec.cache,
        bodies=task.job / "bodies",
        checkpoints=_checkpoints(task, config, plan, keys, partials),
        skip=_skipped(task, plan, keys) if spec.keeps_plan else frozenset(),
    )
    backend = build_backend(spec.backend, work, watch)
    journal = Journal(task.job / "journal")
    writer = journal.writer(task.name, config.flush_rows, config.flush_s)
    watch.phase = "run"
    heart.beat()  # at once: a death from here on is no failure to load

    def take(prompt: int, outcome: Finished) -> None:
        writer.add(keys[prompt], outcome)
        partials.forget(keys[prompt])
        tally.rows += 1
        tally.failed += outcome.failure is not None
        tally.output_tokens += outcome.output_tokens

    try:
        backend.run(plan, task.shard, take)
        watch.phase = "done"
    finally:
        writer.close()
        partials.close()
        write_trace(backend.trace(), folder / TRACE)
    return DONE


def _skipped(task: WorkerTask, plan: Plan, keys: Keys) -> frozenset[int]:
    """Return the prompts of a shard that have finished, or are not asked for."""
    part = plan.shards[task.shard]
    prompts = plan.rows.prompt[part.first_row : part.end_row].tolist()
    asked = set(prompts if task.only is None else task.only)
    finished = Journal.look(task.job / "journal").places
    return frozenset(p for p in prompts if p not in asked or keys[p] in finished)


def _checkpoints(
    task: WorkerTask, config: JobConfig, plan: Plan, keys: Keys, partials: PartialWriter
) -> Checkpoints | None:
    """Return where outputs are kept, and those of the shard that go on; None: not asked for."""
    if config.checkpoint_tokens is None:
        return None
    part = plan.shards[task.shard]
    wanted = {keys[p]: p for p in plan.rows.prompt[part.first_row : part.end_row].tolist()}
    begun = read_begun(task.job, wanted)
    for key, outputs in begun.items():
        partials.goes_on(key, outputs)
    return Checkpoints(
        config.checkpoint_tokens,
        lambda prompt, one: partials.add(keys[prompt], one),
        {wanted[key]: outputs for key, outputs in begun.items()},
    )


def build_backend(name: str, work: Work, watch: Watch) -> Backend:
    """Load what a backend needs; heavy libraries are imported here only."""
    module, _, attribute = BACKENDS[name].partition(":")
    backend: Backend = getattr(importlib.import_module(module), attribute)(work, watch)
    return backend


def write_trace(trace: Any, file: Path) -> None:
    """Write the engine's steps as Parquet; nothing if it does not know them."""
    steps = [asdict(step) for step in trace if is_dataclass(step) and not isinstance(step, type)]
    if not steps:
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(steps), file, compression="zstd")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    sys.exit(run_task(Path(sys.argv[1])))

"""What a job costs beside its engine: CPU seconds of everything else, for many short rows.

`job_overhead()` runs a made-up job whose engine answers at once, so that what is measured is the
job alone: read, tokenise, plan, decode, journal, supervise, merge. The engine's own seconds are
measured apart, on whole groups of the same job: a difference of two long runs would be noise.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ServiceError
from models.inference import worker
from models.inference.backends.base import Sink, Watch, Work
from models.inference.batch_input import Places
from models.inference.job_config import JobConfig
from models.inference.outcome import Finished
from models.inference.plan import Plan
from models.inference.requests import Choice
from models.settings import ROOT

GROUP_ROWS = 500
ENGINE_GROUPS = 2
OUTPUT_TOKENS = 16
WORDS = """
time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point
home water room mother area money story fact month lot right study book
"""

Command = Callable[[JobConfig], Sequence[str]]
"""Makes the command line that runs the flow on a job."""


@dataclass(frozen=True)
class JobOverhead:
    """CPU seconds (user and system) of a job's parts.

    Attributes:
        n_rows: Rows of the job, about 45 prompt tokens and 16 output tokens each.
        engine_s: Of the engine on all rows; its start and the model's loading apart.
        job_s: Of everything else, `run_job` as a program: its two processes with their imports.
        worker_s: Of them, in the engine process: start, plan, decode, journal.
        again_s: The same on the finished job: read, plan nothing, merge.
        flow_s: Of the flow on the finished job beyond `again_s`: Prefect, MLflow, report, their
            imports, and a Prefect server of its own unless one is there; None: not asked for.
    """

    n_rows: int
    engine_s: float
    job_s: float
    worker_s: float
    again_s: float
    flow_s: float | None

    @property
    def share(self) -> float:
        """Job over engine."""
        return self.job_s / self.engine_s

    @property
    def share_with_flow(self) -> float | None:
        """Job and flow over engine."""
        return None if self.flow_s is None else (self.job_s + self.flow_s) / self.engine_s


class Echo:
    """A backend that emits as many tokens as a row may, at once: the end of its prompt."""

    def __init__(self, work: Work, _watch: Watch) -> None:
        """Take what there is to do."""
        self._work = work

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        """Answer every row of a shard; see `Backend.run`."""
        tokenizer = self._work.model.tokenizer
        assert tokenizer is not None
        for group in plan.run_order(shard):
            for prompt in group.members.tolist():
                ids = self._work.prompts[prompt].tolist()
                emitted = tuple(ids[-(self._work.samplings[prompt].max_tokens or 1) :])
                choice = Choice(emitted, tokenizer.decode(emitted), "length")
                sink(prompt, Finished((choice,), None, len(ids), group.prefix_tokens))

    def trace(self) -> Sequence[Any]:
        """It knows no steps."""
        return ()


def job_overhead(
    n_rows: int = 10_000,
    seed: int = 0,
    places: Places | None = None,
    command: Command | None = None,
) -> JobOverhead:
    """Measure a job's cost beside its engine.

    Args:
        n_rows: Rows; a multiple of 500 measures whole groups.
        seed: Of the prompts.
        places: Home whose model cache is used; None: a fresh one, which converts the model first.
        command: Command line of the flow; None: the flow is not measured.

    Raises:
        ServiceError: A process failed.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = _write_rows(folder / "in.jsonl", n_rows, seed)
        home = places.home if places else folder / "home"
        config = JobConfig(data=data, output=folder / "out.jsonl", backend="native")
        (folder / "job.json").write_text(config.model_dump_json())
        here = [sys.executable, "-m", "models.inference.job_overhead", str(home), str(folder)]
        _cpu_s([*here, "warm"])  # the model is converted, numba's code compiled
        engine_s = json.loads((folder / "engine.json").read_text())
        job_s = _cpu_s([*here, "job"])
        worker_s = json.loads((folder / "worker.json").read_text())
        again_s = _cpu_s([*here, "job"])
        flow_s = None if command is None else _cpu_s(command(config)) - again_s
    return JobOverhead(n_rows, engine_s, job_s, worker_s, again_s, flow_s)


def _write_rows(file: Path, n_rows: int, seed: int) -> Path:
    """Write chats: a system prompt per group of rows, a question of their own."""
    draws, words = random.Random(seed), WORDS.split()
    with file.open("w") as lines:
        for row in range(n_rows):
            if row % GROUP_ROWS == 0:
                system = " ".join(draws.choices(words, k=60))
            question = " ".join(draws.choices(words, k=draws.randrange(10, 30)))
            body = {
                "messages": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": question},
                ],
                "max_tokens": OUTPUT_TOKENS,
                "temperature": 0,
                "ignore_eos": True,
            }
            line = {"custom_id": f"row-{row}", "url": "/v1/chat/completions", "body": body}
            lines.write(json.dumps({**line, "method": "POST"}) + "\n")
    return file


def _cpu_s(command: Sequence[str]) -> float:
    """Run a program; returns the CPU seconds of it and all that it waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise ServiceError(
            f"{' '.join(command[1:4])} ended with exit code {done.returncode}: "
            f"{(done.stderr or done.stdout).strip()[-800:]}"
        )
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _start_echo(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "models.inference.job_overhead", "worker", str(folder)]
    with (folder / worker.LOG).open("wb") as output:
        return subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)


def _run_worker(folder: Path) -> int:
    worker.BACKENDS["native"] = "models.inference.job_overhead:Echo"
    return worker.run_task(folder)


def _run_job(home: Path, folder: Path) -> None:
    from models.inference.job import run_job

    config = JobConfig.model_validate_json((folder / "job.json").read_text())
    run_job(config, Places(home, home), start=_start_echo)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    (folder / "worker.json").write_text(json.dumps(used.ru_utime + used.ru_stime))


def _run_engine(home: Path, folder: Path) -> None:
    """Run whole groups of the job on the engine; writes its CPU seconds for all rows."""
    import numpy as np

    from models.inference.backends.native import NativeBackend
    from models.inference.batch_input import read_batch
    from models.inference.memory import KvBudget
    from models.inference.planner import plan_job

    config = JobConfig.model_validate_json((folder / "job.json").read_text())
    places = Places(home, home)
    batch = read_batch(config, places)
    n_rows = len(batch.job.prompts)
    some = np.arange(min(n_rows, ENGINE_GROUPS * GROUP_ROWS))
    budget = KvBudget(int(config.kv_gib * 1024**3), batch.model.token_bytes(config.dtype))
    plan = plan_job(batch.job.prompts, batch.job.rows.loads(), budget, config, todo=some)
    work = Work(
        *(batch.job.prompts, batch.samplings, batch.model, config, budget.bytes, 1, places.cache)
    )
    backend = NativeBackend(work, Watch())
    began = time.process_time()
    backend.run(plan, 0, lambda _prompt, _outcome: None)
    used_s = time.process_time() - began
    (folder / "engine.json").write_text(json.dumps(used_s * n_rows / len(some)))


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        sys.exit(_run_worker(Path(sys.argv[2])))
    home, folder, mode = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    os.environ["OMP_NUM_THREADS"] = "1"
    if mode == "warm":
        _run_engine(home, folder)
    else:
        _run_job(home, folder)

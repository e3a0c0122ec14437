"""Kills a job again and again at random points and looks at what is left of it.

`crash_trials(n, seed)` runs in a process of its own: it forks one child per start of a job, which
is killed (SIGKILL): half of them after a random time, half when the journal has grown by a random
number of bytes, which hits the engine at work. Every third kill also tears what a segment had not
flushed, as a failing machine would. A job is started again until it finishes. Jobs with many short
rows and jobs with few long ones, which go on in the middle of a row, take turns.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from models.errors import ServiceError
from models.inference.tiny_job import write_tiny_job
from models.settings import ROOT

MAX_KILLS = 4
FLUSH_ROWS = 8
MAX_ROWS = 8
CHECKPOINT_TOKENS = 16


@dataclass
class CrashFigures:
    """What the trials found.

    Attributes:
        jobs, kills, tears: Jobs, processes killed, segments torn.
        rows: Input rows of all jobs.
        lost, double: Rows without an output line, rows with several.
        different: Rows whose tokens are not those of a job that nobody killed.
        redone: Records of finished rows written twice for one row.
        torn_rows: Records lost with a torn tail; what they held is computed again by design.
        most_torn: Most of them in one tear.
        tokens: Tokens of all outputs of killed jobs.
        redone_tokens: Tokens emitted again because a kill or a tear took them.
        most_redone: Most of them after one kill without a tear.
        resumed: Outputs that went on in their middle.
    """

    jobs: int = 0
    kills: int = 0
    tears: int = 0
    rows: int = 0
    lost: int = 0
    double: int = 0
    different: int = 0
    redone: int = 0
    torn_rows: int = 0
    most_torn: int = 0
    tokens: int = 0
    redone_tokens: int = 0
    most_redone: int = 0
    resumed: int = 0


def crash_trials(n: int, seed: int) -> CrashFigures:
    """Kill jobs in a fresh process and return what was found.

    Args:
        n: Processes to kill.
        seed: Seed of the job and of the instants.

    Raises:
        ServiceError: The process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "models.inference.crash_trials", str(n), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ServiceError(
            f"crash trials ended with exit code {done.returncode}: {done.stderr.strip()[-800:]}"
        )
    return CrashFigures(**json.loads(done.stdout.splitlines()[-1]))


class _Meter:
    """Counts the tokens that forked children emit, in memory that outlives them."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8)).cast("Q")

    @property
    def tokens(self) -> int:
        """Tokens since the last reset."""
        return int(self._cells[0])

    def reset(self) -> None:
        """Begin at nothing."""
        self._cells[0] = 0

    def install(self) -> None:
        """Count in this process; for children only."""
        from models.inference.outputs import Outputs
        from models.inference.requests import FinishReason
        from models.inference.running import Sequence as Row
        from models.inference.sample import Drawn

        take = Outputs.take

        cells = self._cells

        def counted(self: Outputs, row: Row, drawn: Drawn) -> FinishReason | None:
            cells[0] += 1
            return take(self, row, drawn)

        Outputs.take = counted  # type: ignore[method-assign]


@dataclass(frozen=True)
class _Kind:
    """A job to kill, and what it gives when nobody does."""

    data: Path
    model: Path
    expected: list[tuple[str, str]]
    tokens: int
    alone_s: float
    journal_bytes: int


def _start(data: Path, model: Path, home: Path) -> None:
    """Run the job in this process, engine and all."""
    from models.inference.batch_input import Places, held, read_batch
    from models.inference.job import finish_job
    from models.inference.job_config import JobConfig
    from models.inference.prepare import prepare_job
    from models.inference.supervise import ShardReport
    from models.inference.worker import DONE, WorkerTask, run_task

    places = Places(home, home)
    config = JobConfig(
        data=data,
        output=home / "out.jsonl",
        model=str(model),
        dtype="float32",
        backend="native",
        flush_rows=FLUSH_ROWS,
        max_rows=MAX_ROWS,
        step_tokens=32,
        kv_gib=0.002,
        checkpoint_tokens=CHECKPOINT_TOKENS,
    )
    batch = read_batch(config, places)
    with held(batch.folder):
        prepared = prepare_job(batch, 1, places)
        for shard in range(len(prepared.plan.shards)):
            folder = prepared.folder / "shards" / f"{shard}"
            task = WorkerTask(
                *(prepared.folder, prepared.folder / "plan", shard, f"shard-{shard}"),
                *(prepared.plan.budget.bytes, shard, os.getppid()),
            )
            task.write(folder)
            if run_task(folder) != DONE:
                os._exit(1)
        finish_job(prepared, [ShardReport(0)], time.monotonic())


def _fork(
    data: Path,
    model: Path,
    home: Path,
    meter: _Meter,
    kill_after_s: float | None = None,
    kill_after_bytes: int | None = None,
) -> bool:
    """Start the job in a child; returns whether it ended by itself."""
    before = _journal_bytes(home)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            meter.install()
            _start(data, model, home)
            code = 0
        finally:
            os._exit(code)
    if kill_after_bytes is not None:
        while _journal_bytes(home) < before + kill_after_bytes:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                return os.WIFEXITED(status)
            time.sleep(0.001)
    elif kill_after_s is not None:
        time.sleep(kill_after_s)
    if kill_after_s is not None or kill_after_bytes is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise ServiceError("the job failed without being killed; see the traceback above")
    return os.WIFEXITED(status)


def _journal_bytes(home: Path) -> int:
    total = 0
    for name in ("journal", "partials"):
        with contextlib.suppress(FileNotFoundError):  # partial records go when all is merged
            for file in home.glob(f"inference/jobs/*/{name}/*.segment"):
                total += file.stat().st_size
    return total


def _run(n: int, seed: int) -> CrashFigures:
    import torch

    import models.inference.backends.native
    import models.inference.job  # noqa: F401  # before forking: children start at once

    torch.set_num_threads(1)
    figures, draws, meter = CrashFigures(), random.Random(seed), _Meter()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        kinds = [_kind(root / "short", seed, meter), _kind(root / "long", seed, meter, 24, 400)]
        while figures.kills < n:
            kind = kinds[figures.jobs % len(kinds)]
            _kill_one_job(kind, root / f"job-{figures.jobs}", n, draws, meter, figures)
    return figures


def _kind(root: Path, seed: int, meter: _Meter, n_rows: int = 60, most_tokens: int = 24) -> _Kind:
    """Write a job and run it twice; the first time pays for what is built once."""
    model, data = write_tiny_job(root, seed, n_rows, most_tokens)
    _fork(data, model, root / "warm", meter)
    meter.reset()
    began = time.monotonic()
    _fork(data, model, root / "clean", meter)
    alone_s = time.monotonic() - began
    expected = _outputs(root / "clean")
    return _Kind(data, model, expected, meter.tokens, alone_s, _journal_bytes(root / "clean"))


def _kill_one_job(
    kind: _Kind, home: Path, n: int, draws: random.Random, meter: _Meter, figures: CrashFigures
) -> None:
    from models.inference.journal import Journal

    meter.reset()
    wasted = 0
    for _ in range(min(MAX_KILLS, n - figures.kills)):
        after_s, after_bytes = draws.uniform(0, kind.alone_s), draws.randrange(kind.journal_bytes)
        when = (after_s, None) if draws.random() < 0.5 else (None, after_bytes + 1)
        if _fork(kind.data, kind.model, home, meter, *when):
            break
        figures.kills += 1
        is_torn = figures.kills % 3 == 0 and _tear(home, draws, figures)
        on_record, n_begun = _on_record(home)
        lost, wasted = meter.tokens - on_record - wasted, meter.tokens - on_record
        figures.resumed += n_begun
        if not is_torn:
            figures.most_redone = max(figures.most_redone, lost)
    else:
        _fork(kind.data, kind.model, home, meter)
    found, n_rows = _outputs(home), len(kind.expected)
    names = [name for name, _ in found]
    figures.jobs += 1
    figures.rows += n_rows
    figures.tokens += kind.tokens
    figures.redone_tokens += meter.tokens - kind.tokens
    figures.lost += n_rows - len(set(names))
    figures.double += len(names) - len(set(names))
    figures.different += sum(a != b for a, b in zip(found, kind.expected, strict=False))
    (folder,) = (home / "inference" / "jobs").iterdir()
    figures.redone += Journal.open(folder / "journal").doubles


def _on_record(home: Path) -> tuple[int, int]:
    """Tokens that the next start need not emit again; outputs that it goes on with."""
    from models.inference.job_state import Keys
    from models.inference.journal import Journal
    from models.inference.partials import read_begun

    folders = list((home / "inference" / "jobs").glob("*"))
    if not folders or not (folders[0] / "keys.bin").exists():
        return 0, 0
    journal, keys = Journal.look(folders[0] / "journal"), Keys(folders[0])
    finished = sum(outcome.output_tokens for outcome in journal.outcomes())
    open_rows = {keys[prompt] for prompt in range(len(keys))} - set(journal.places)
    begun = [one for row in read_begun(folders[0], open_rows).values() for one in row]
    return finished + sum(len(one.token_ids) for one in begun), len(begun)


def _outputs(home: Path) -> list[tuple[str, str]]:
    """Name and everything that was said of each row, in the order of the file."""
    (folder,) = (home / "inference" / "jobs").iterdir()
    from models.inference.job_state import Keys
    from models.inference.journal import Journal

    journal, keys = Journal.open(folder / "journal"), Keys(folder)
    lines = [json.loads(line) for line in (home / "out.jsonl").read_text().splitlines()]
    said = []
    for prompt, line in enumerate(lines):
        outcome = journal.read(keys[prompt])
        assert outcome is not None
        said.append((line["custom_id"], repr([c.token_ids for c in outcome.choices])))
    return said


def _tear(home: Path, draws: random.Random, figures: CrashFigures) -> bool:
    """Cut the newest segment of finished or of begun rows in what was not flushed, at most."""
    from models.inference.segments import Scan, scan_segment

    name = draws.choice(("journal", "partials"))
    segments = sorted(home.glob(f"inference/jobs/*/{name}/*.segment"), key=os.path.getmtime)
    if not segments:
        return False
    places = [place for _, place, _ in scan_segment(segments[-1], Scan())]
    open_rows = len(places) % FLUSH_ROWS
    if not open_rows:
        return False
    first = places[-open_rows]
    size = segments[-1].stat().st_size
    os.truncate(segments[-1], draws.randrange(first.offset, size))
    left = sum(1 for _ in scan_segment(segments[-1], Scan()))
    figures.tears += 1
    figures.torn_rows += len(places) - left
    figures.most_torn = max(figures.most_torn, len(places) - left)
    return True


if __name__ == "__main__":
    print(json.dumps(asdict(_run(int(sys.argv[1]), int(sys.argv[2])))))

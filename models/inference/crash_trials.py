"""Kills a job again and again at random points and looks at what is left of it.

`crash_trials(n, seed)` runs in a process of its own: it forks one child per start of a job, which
is killed (SIGKILL): half of them after a random time, half when the journal has grown by a random
number of bytes, which hits the engine at work. Every third kill also tears what the journal had not
flushed, as a failing machine would. A job is started again until it finishes.
"""

from __future__ import annotations

import contextlib
import json
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
from models.settings import ROOT

N_ROWS = 60
MAX_KILLS = 4
FLUSH_ROWS = 8


@dataclass
class CrashFigures:
    """What the trials found.

    Attributes:
        jobs, kills, tears: Jobs, processes killed, segments torn.
        rows: Input rows of all jobs.
        lost, double: Rows without an output line, rows with several.
        different: Rows whose text is not that of a job that nobody killed.
        redone: Records written twice for one row.
        torn_rows: Records lost with a torn tail; they are computed again by design.
        most_torn: Most of them in one tear.
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


def _write_model(folder: Path, seed: int) -> None:
    """Write a decoder of two layers with random weights; tokens are its only language."""
    import torch
    from safetensors.torch import save_file

    hidden, mlp, words, layers = 32, 48, 97, 2
    draws = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws) * 0.3

    tensors = {"model.embed_tokens.weight": 3 * matrix(words, hidden)}
    tensors["model.norm.weight"] = torch.ones(hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        for name, wide in (("q", 32), ("k", 16), ("v", 16)):
            tensors[f"{at}self_attn.{name}_proj.weight"] = matrix(wide, hidden)
        tensors[at + "self_attn.o_proj.weight"] = matrix(hidden, 32)
        for name in ("gate", "up"):
            tensors[f"{at}mlp.{name}_proj.weight"] = matrix(mlp, hidden)
        tensors[at + "mlp.down_proj.weight"] = matrix(hidden, mlp)
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{at}{name}.weight"] = torch.ones(hidden)
    folder.mkdir(parents=True)
    save_file(tensors, str(folder / "model.safetensors"))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": words,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "eos_token_id": 2,
    }
    (folder / "config.json").write_text(json.dumps(config))


def write_tiny_job(folder: Path, seed: int, n_rows: int = N_ROWS) -> tuple[Path, Path]:
    """Write a tiny model and a JSONL of token ids that share prefixes; returns both."""
    draws = random.Random(seed)
    _write_model(folder / "model", seed)
    prefixes = [[draws.randrange(3, 90) for _ in range(draws.randrange(10, 60))] for _ in range(4)]
    lines = []
    for row in range(n_rows):
        own = [draws.randrange(3, 90) for _ in range(draws.randrange(1, 12))]
        lines.append(
            {
                "custom_id": f"row-{row}",
                "token_ids": draws.choice(prefixes) + own,
                "max_tokens": draws.randrange(1, 24),
                "temperature": 0 if row % 3 else 0.9,
            }
        )
    data = folder / "in.jsonl"
    data.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "model", data


def _start(data: Path, model: Path, home: Path) -> None:
    """Run the job in this process, engine and all."""
    from models.inference.job import finish_job
    from models.inference.job_config import JobConfig
    from models.inference.prepare import Places, held, prepare_job, read_batch
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
        max_rows=8,
        step_tokens=32,
        kv_gib=0.001,
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
    kill_after_s: float | None = None,
    kill_after_bytes: int | None = None,
) -> bool:
    """Start the job in a child; returns whether it ended by itself."""
    before = _journal_bytes(home)
    child = os.fork()
    if child == 0:
        code = 1
        try:
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
    return sum(f.stat().st_size for f in home.glob("inference/jobs/*/journal/*.segment"))


def _run(n: int, seed: int) -> CrashFigures:
    import torch

    import models.inference.backends.native
    import models.inference.job  # noqa: F401  # before forking: children start at once
    from models.inference.journal import Journal

    torch.set_num_threads(1)
    figures, draws = CrashFigures(), random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        model, data = write_tiny_job(root, seed)
        began = time.monotonic()
        _fork(data, model, root / "clean")
        _fork(data, model, root / "warm")
        alone_s = (time.monotonic() - began) / 2
        expected = _outputs(root / "clean")
        whole_bytes = _journal_bytes(root / "clean")
        while figures.kills < n:
            home = root / f"job-{figures.jobs}"
            for _ in range(min(MAX_KILLS, n - figures.kills)):
                after_s, after_bytes = draws.uniform(0, alone_s), draws.randrange(1, whole_bytes)
                is_timed = draws.random() < 0.5
                when = (after_s, None) if is_timed else (None, after_bytes)
                if _fork(data, model, home, *when):
                    break
                figures.kills += 1
                if figures.kills % 3 == 0:
                    _tear(home, draws, figures)
            else:
                _fork(data, model, home)
            found = _outputs(home)
            figures.jobs += 1
            figures.rows += N_ROWS
            names = [name for name, _ in found]
            figures.lost += N_ROWS - len(set(names))
            figures.double += len(names) - len(set(names))
            figures.different += sum(a != b for a, b in zip(found, expected, strict=False))
            (folder,) = (home / "inference" / "jobs").iterdir()
            figures.redone += Journal.open(folder / "journal").doubles
    return figures


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


def _tear(home: Path, draws: random.Random, figures: CrashFigures) -> None:
    """Cut the newest segment somewhere in what was not flushed, at most."""
    from models.inference.segments import Scan, scan_segment

    segments = sorted(home.glob("inference/jobs/*/journal/*.segment"))
    if not segments:
        return
    places = [place for _, place, _ in scan_segment(segments[-1], Scan())]
    open_rows = len(places) % FLUSH_ROWS
    if not open_rows:
        return
    first = places[-open_rows]
    size = segments[-1].stat().st_size
    os.truncate(segments[-1], draws.randrange(first.offset, size))
    left = sum(1 for _ in scan_segment(segments[-1], Scan()))
    figures.tears += 1
    figures.torn_rows += len(places) - left
    figures.most_torn = max(figures.most_torn, len(places) - left)


if __name__ == "__main__":
    print(json.dumps(asdict(_run(int(sys.argv[1]), int(sys.argv[2])))))

"""`loom bench inference`: our engine, vLLM, Hugging Face and llama.cpp on the same prompts."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from flows.command.inference_tables import (
    ablation_table,
    corner_table,
    gates_table,
    lines_table,
    overhead_table,
    planner_table,
    saving_table,
    verdict_table,
    wall_table,
)
from models.figures import BenchReport, Goal
from models.inference.batch_input import NATURAL_PROMPTS
from models.inference.bench.bout import Corner, Result, Ring, alone
from models.inference.bench.config import InferenceBenchConfig
from models.inference.bench.contest import Contest
from models.inference.bench.corners import (
    HF_BATCHES,
    HF_CONTEST,
    OURS,
    TUNED,
    ablated,
    corners,
    installed,
    our_setup,
    vllm_setup,
)
from models.inference.bench.engine import Setup
from models.inference.bench.gates import natural_contest, saving_gates, token_gates
from models.inference.bench.progress import Progress
from models.inference.bench.ratios import Line, lines
from models.inference.bench.sets import contest_of_file, contests
from models.inference.bench.verdicts import Verdict, verdicts
from models.inference.job_config import JobConfig
from models.inference.job_overhead import job_overhead
from models.inference.local_model import LocalModel, find_model
from models.inference.native.build import load_library
from models.inference.native.symbols import Level
from models.inference.planner_bench import planner_scale
from models.settings import ROOT, get_settings
from tasks.cache import content_digest, source_digest
from tasks.infer import places
from tasks.track import tracked_run

Tell = Callable[[str], None]
FEWER_REPEATS = 3
"""Of what no promise rests on: ablations, two threads."""


def run(
    data: Path | None, seed: int, tell: Tell, config: InferenceBenchConfig | None = None
) -> BenchReport:
    """Let engines compete on generated workloads, or on a file of `token_ids` and `max_tokens`.

    It takes an hour: what was interrupted is gone on with by the same command, as long as
    neither code nor workload nor machine changed.

    Args:
        data: Workload file; None: generated from the seed.
        seed: Seed of the workloads.
        tell: Hears of each step.
        config: Sizes, repeats and peers.
    """
    config = config or InferenceBenchConfig()
    cache = places().cache
    model = find_model(config.model, cache)
    given = (
        contests(seed, config.size == "full", model.vocabulary)
        if data is None
        else contest_of_file(data, model.vocabulary)
    )
    level = Level(load_library(cache / "native").loom_level())
    dtype = "float32" if level < Level.AVX512_BF16 else "bfloat16"
    with (
        tracked_run("bench-inference", config) as tracked,
        tempfile.TemporaryDirectory(prefix="loom-bench-") as place,
    ):
        folder = Path(place)
        document: dict[str, Any] = {
            "room": "inference",
            "seed": seed,
            "data": None if data is None else data.name,
            "config": config.model_dump(mode="json"),
            "model": {"name": model.name, "fingerprint": model.fingerprint},
            "machine": {
                "processor": platform.processor() or platform.machine(),
                "level": level.name,
            },
            "peer_dtype": dtype,
            "contests": [
                {"name": c.name, "about": c.about, "kind": c.kind, "kv_tokens": c.kv_tokens}
                for c in given
            ],
        }
        progress = _progress(model, given, config, dtype, seed)
        document["resumed"] = progress.begun
        if progress.begun:
            tell(f"going on with {progress.begun} results of an interrupted benchmark")
        report = _measure(model, given, config, dtype, folder, document, progress, tell)
        found = {
            f"ratio/{verdict['words']}": float(verdict["found"])
            for verdict in document["verdicts"]
            if verdict["found"] is not None
        }
        tracked.metrics({name.replace(",", ""): value for name, value in found.items()})
        tracked.artifact("bench.json", document)
        progress.finish()
    return report


def _progress(
    model: LocalModel,
    given: Sequence[Contest],
    config: InferenceBenchConfig,
    dtype: str,
    seed: int,
) -> Progress:
    sources = sorted((ROOT / "models" / "inference" / "native").glob("*.[ch]*"))
    about = (
        *(config, dtype, seed, model.fingerprint, source_digest("models.inference")),
        [(c.name, c.prompts, c.output_tokens, c.kv_tokens) for c in given],
        [source.read_bytes() for source in sources],
        (ROOT / "requirements" / "lock.txt").read_bytes(),
        platform.uname()[:3],
    )
    return Progress(places().cache / "bench" / content_digest(about)[:32])


def _measure(
    model: LocalModel,
    given: Sequence[Contest],
    config: InferenceBenchConfig,
    dtype: str,
    folder: Path,
    document: dict[str, Any],
    progress: Progress,
    tell: Tell,
) -> BenchReport:
    cache = places().cache
    here, missing = installed(config)
    judge_tokens = partial(
        token_gates,
        model,
        natural_contest(model, get_settings().datasets / NATURAL_PROMPTS, cache),
        our_setup(config, cache),
        _eager_vllm(config, cache, model, given) if "vllm" in here else None,
        "hf" in here,
        folder,
        tell,
    )
    gates, details = progress.once(f"gates {here}", judge_tokens)
    batch = None
    if "hf" in here:
        find_batch = partial(_best_batch, config, cache, dtype, given, folder, tell)
        batch = progress.once("hf batch", find_batch)
    ring = Ring(folder, progress, tell)
    everybody = corners(config, cache, dtype, given, batch)
    results = list(ring.fight(given, everybody, config.repeats))
    table = lines(results)
    saving, saved = saving_gates(given, results, OURS, model.token_bytes("bfloat16"))
    gates = [*gates, *saving]
    judged = verdicts(given, table)
    alone_table: list[Line] = []
    if config.ablations:
        tell("one part taken out at a time")
        fewer = min(FEWER_REPEATS, config.repeats)
        alone_table = lines(ring.fight(given, ablated(config, cache), fewer))
    walls = _two_threads(config, cache, dtype, given, folder, here, progress, tell)
    planner = None
    if config.planner_rows:
        tell(f"planning {config.planner_rows:,} prompts")
        plan = partial(planner_scale, config.planner_rows, int(document["seed"]))
        planner = progress.once("planner", plan)
    overhead = None
    if config.job_rows:
        tell(f"a job of {config.job_rows:,} rows beside its engine")
        seed = int(document["seed"])
        job = partial(job_overhead, config.job_rows, seed, places(), command=_flow_command)
        overhead = progress.once("job", job)
    document |= {
        "gates": [asdict(gate) for gate in gates],
        "token_gates": details,
        "verdicts": [_as_json(verdict) for verdict in judged],
        "lines": [asdict(line) for line in table],
        "runs": [_run_json(result) for result in results],
        "saving": saved,
        "ablation": [asdict(line) for line in alone_table],
        "two_threads": [asdict(line) for line in walls],
        "planner": None if planner is None else asdict(planner),
        "job_overhead": None if overhead is None else asdict(overhead),
        "contestants": {
            corner.name: {
                "about": corner.about,
                "engine": ring.abouts.get(corner.name),
                "load_cpu_s": ring.load_cpu_s.get(corner.name),
            }
            for corner in everybody
        },
        "hf_batch": batch,
        "missing": missing,
    }
    tables = [
        gates_table(gates),
        verdict_table(judged),
        lines_table(given, table),
        saving_table(saved),
        *([ablation_table(alone_table)] if alone_table else []),
        *([wall_table(walls)] if walls else []),
        *([planner_table(planner)] if planner else []),
        *([overhead_table(overhead)] if overhead else []),
        corner_table(everybody, ring),
    ]
    goals = tuple(
        Goal(f"CPU s over ours: {one.promise.words}", one.found, one.promise.target)
        for one in judged
        if one.promise.target is not None
    )
    return BenchReport(tuple(tables), document, _notes(config, dtype, missing), goals)


def _eager_vllm(
    config: InferenceBenchConfig, cache: Path, model: LocalModel, given: Sequence[Contest]
) -> Setup:
    """Set vLLM up in bfloat16 for the gap: eager, as its tokens are asked for and not its speed."""
    natural = natural_contest(model, get_settings().datasets / NATURAL_PROMPTS, cache)
    return vllm_setup(config, cache, "bfloat16", [natural, *given], 32, is_eager=True)


def _best_batch(
    config: InferenceBenchConfig,
    cache: Path,
    dtype: str,
    given: Sequence[Contest],
    folder: Path,
    tell: Tell,
) -> int | None:
    """Batch size with which `generate` is fastest on its contest; one run of each."""
    mine = next((contest for contest in given if contest.name == HF_CONTEST), None)
    if mine is None:
        return None
    place, seconds = mine.write(folder / "hf-batch"), {}
    with alone(Setup("hf", config.model, cache, dtype), folder) as process:
        for batch in HF_BATCHES:
            tell(f"hf generate: batches of {batch}")
            seconds[batch] = process.run(place, {"batch": batch}).cpu_s
    return min(seconds, key=lambda batch: seconds[batch])


def _two_threads(
    config: InferenceBenchConfig,
    cache: Path,
    dtype: str,
    given: Sequence[Contest],
    folder: Path,
    here: Sequence[str],
    progress: Progress,
    tell: Tell,
) -> list[Line]:
    """Wall seconds with two compute threads, on the contests without pressure that share."""
    if not config.two_threads or "vllm" not in here:
        return []
    some = [contest for contest in given if contest.kind == "shared"][:2]
    ours = Corner(OURS, "two threads", our_setup(config, cache, threads=2), {})
    theirs = vllm_setup(config, cache, dtype, given, 32, threads=2, is_eager=True)
    both = [ours, Corner(TUNED, "two threads, eager", theirs, {"order": "plan"})]
    ring = Ring(folder / "two", progress, tell)
    return lines(ring.fight(some, both, min(FEWER_REPEATS, config.repeats)))


def _as_json(verdict: Verdict) -> dict[str, Any]:
    promise = verdict.promise
    return {
        "words": promise.words,
        "found": verdict.found,
        "target": promise.target,
        "stretch": promise.stretch,
        "worst": verdict.worst,
        "contests": verdict.contests,
        "is_kept": verdict.is_kept,
    }


def _run_json(result: Result) -> dict[str, Any]:
    score = asdict(result.score)
    del score["tokens"]
    return {"contest": result.contest, "corner": result.corner, "repeat": result.repeat, **score}


def _flow_command(config: JobConfig) -> list[str]:
    """Command line that runs the flow on a job."""
    assert config.output is not None
    file = config.output.with_name("flow.yaml")
    file.write_text(config.model_dump_json())  # JSON is YAML
    return [sys.executable, "-m", "flows", "run", "run-batch-inference", "--config", str(file)]


def _notes(config: InferenceBenchConfig, dtype: str, missing: Sequence[str]) -> tuple[str, ...]:
    notes = [
        f"Model {config.model}; loading, compiling and one run of each on each contest are not "
        "counted; planning is.",
        "Greedy, end tokens ignored, random ids (natural text in the gates), seeds of the "
        "workloads are not those that anything was tuned on.",
    ]
    if dtype == "float32":
        notes.append(
            "This processor multiplies no bfloat16, in which torch and vLLM are several times "
            "slower here: all engines compute in float32, a favour to vLLM, whose default is the "
            "model's bfloat16 (a row of its own); ours keeps keys and values in bfloat16; the KV "
            "of a contest is counted in tokens."
        )
    if missing:
        way = " (make llamacpp)" if "llamacpp" in missing else ""
        notes.append(f"Not installed, so not compared: {', '.join(missing)}{way}.")
    return tuple(notes)

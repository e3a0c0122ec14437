"""`loom bench sharding`: layouts against published rows and measured landscapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.command.bench_sharding_diagnosis import diagnosis
from flows.command.bench_sharding_plans import plans
from flows.command.goals import goals_of
from models.contracts import read_table
from models.errors import ConfigError
from models.figures import BenchReport, BenchTable
from models.sharding.bench import ShardingBenchConfig, as_rows, wilson
from models.sharding.bench_landscapes import LandscapeCase, score_landscapes
from models.sharding.bench_published import Case, score_published
from models.sharding.bench_shots import CURVE_AT, score_shots, shots_figures
from models.sharding.bench_times import TimeCase, held_memory, score_times
from models.sharding.landscapes import read_landscapes
from models.sharding.published import read_published
from tasks.track import tracked_run

Tell = Callable[[str], None]


def run(
    data: Path | None, seed: int, tell: Tell, config: ShardingBenchConfig | None = None
) -> BenchReport:
    """Score proposals on published rows and on landscapes, each group being unknown.

    Args:
        data: A file of either schema (`published_configs`, `measured_landscapes`), scored
            without being learned from, or profiles as JSON lines (`diagnosis/documents.py`);
            None: the shipped files, leaving groups out.
        seed: Of random picks.
        tell: Hears of each step.
        config: Tracks and sizes.
    """
    config = config or ShardingBenchConfig()
    tracks = set(config.tracks)
    if data is not None and data.suffix == ".jsonl":
        tracks = {"diagnosis"}
    elif data is not None:
        is_landscape = "tok_s_gpu" in read_table(data).columns
        tracks &= {"landscapes", "shots"} if is_landscape else {"published"}
    if not tracks:
        raise ConfigError(
            f"none of the tracks {', '.join(config.tracks)} takes {data.name if data else 'this'}; "
            "published rows, landscapes (also shots) and profiles as JSON lines can be scored"
        )
    document: dict[str, Any] = {
        "room": "sharding",
        "seed": seed,
        "data": None if data is None else data.name,
        "config": config.model_dump(mode="json"),
    }
    tables: list[BenchTable] = []
    notes: list[str] = []
    reached: dict[str, float] = {}
    with tracked_run("bench-sharding", config) as tracked:
        for name, part in _PARTS.items():
            if name in tracks:
                found, said, values, metrics = part(data, seed, tell, config)
                tables += found
                notes += said
                document |= values
                tracked.metrics(metrics)
                reached |= metrics
        tracked.artifact("bench.json", document)
    goals = goals_of("sharding", reached) if data is None else ()
    return BenchReport(tuple(tables), document, tuple(notes), goals)


Part = tuple[list[BenchTable], list[str], dict[str, Any], dict[str, float]]


def _published(data: Path | None, seed: int, tell: Tell, config: ShardingBenchConfig) -> Part:
    """Score matches and step times of published rows."""
    tell("reading published rows")
    known = read_published()
    scored = known if data is None else read_published(data)
    cases = score_published(scored.rows, known.rows, config, tell)
    tell("step times")
    times = score_times(scored.rows, known.rows)
    held = held_memory(scored.rows)
    subsets: dict[str, Callable[[Case], bool]] = {
        "all": lambda one: True,
        "non-trivial": lambda one: not one.is_trivial,
        "torus": lambda one: one.is_torus,
        "torus, non-trivial": lambda one: one.is_torus and not one.is_trivial,
        "GPUs": lambda one: not one.is_torus,
    }
    rows, metrics = [], {}
    for subset, belongs in subsets.items():
        for name in dict.fromkeys(one.proposer for one in cases):
            mine = [one for one in cases if one.proposer == name and belongs(one)]
            if not mine:
                continue
            first = sum(any(one.equivalent[:1]) for one in mine)
            among = sum(any(one.equivalent) for one in mine)
            exact = sum(any(one.exact) for one in mine)
            low, high = wilson(among, len(mine))
            share = (first / len(mine), among / len(mine), exact / len(mine))
            rows.append((subset, name, len(mine), *share, f"{low:.2f} to {high:.2f}"))
            if name == "loomworks":
                metrics[f"published/{subset.replace(', ', '-')}/top_1"] = share[0]
                metrics[f"published/{subset.replace(', ', '-')}/top_{config.top}"] = share[1]
    columns = (
        *("rows", "proposer", "n", "top-1", f"top-{config.top}", f"exact top-{config.top}"),
        f"95 % of top-{config.top}",
    )
    for kind, is_moe in (("dense", False), ("moe", True)):
        errors = [abs(one.predicted_s / one.measured_s - 1)
                  for one in times if one.is_torus and one.is_moe == is_moe]  # fmt: skip
        metrics |= {f"times/torus_{kind}": float(np.mean(errors))} if errors else {}
    tables = [
        BenchTable("experts' layout among the proposals", columns, rows),
        _times_table(times),
        BenchTable(
            "memory of published layouts",
            ("rows", "n", "share that should fit"),
            [("published, so it ran", len(held), sum(held) / max(len(held), 1))],
        ),
    ]
    values = {
        "published": as_rows(cases),
        "times": as_rows(times),
        "left_out": scored.left_out,
    }
    notes = [
        f"{len(scored.left_out)} rows cannot be scored (--json has each with its reason).",
        "A row's group (model family, chip) is unknown to conventions and neighbours; step times "
        "leave out the rows of the same model. Experts' layouts are not always the fastest.",
    ]
    return tables, notes, values, metrics


def _times_table(times: Sequence[TimeCase]) -> BenchTable:
    rows = []
    for name, torus, moe in (
        *(("torus, dense", True, False), ("torus, MoE", True, True)),
        *(("GPUs, dense", False, False), ("GPUs, MoE", False, True)),
    ):
        mine = [one for one in times if one.is_torus == torus and one.is_moe == moe]
        if mine:
            ours = np.mean([abs(one.predicted_s / one.measured_s - 1) for one in mine])
            flat = np.mean([abs(one.constant_s / one.measured_s - 1) for one in mine])
            plain = np.mean([abs(one.plain_s / one.measured_s - 1) for one in mine])
            rows.append((name, len(mine), float(ours), float(flat), float(plain)))
    columns = (
        *("rows", "n", "step time, mean error", "one constant MFU per chip"),
        "time model, nothing learned",
    )
    return BenchTable("step times, without the rows of the model", columns, rows)


def _landscapes(data: Path | None, seed: int, tell: Tell, config: ShardingBenchConfig) -> Part:
    """Score picks among what was tried, failures foreseen and ranks."""
    tell("reading landscapes")
    known = read_landscapes()
    scored = known if data is None else read_landscapes(data)
    cases = score_landscapes(scored, known, config, seed, tell)
    rows, metrics = [], {}
    for name in dict.fromkeys(one.proposer for one in cases):
        mine = [one for one in cases if one.proposer == name]
        top_1 = float(np.mean([one.top_1 for one in mine]))
        top_k = float(np.mean([one.top_k for one in mine]))
        right, total, words = _failures(mine)
        ranks = [one.rank_correlation for one in mine if one.rank_correlation is not None]
        rank = float(np.mean(ranks)) if ranks else None
        accuracy = right / total if total else None
        rows.append((name, len(mine), top_1, top_k, accuracy, words, rank))
        if name == "loomworks":
            metrics = {"landscapes/top_1": top_1, f"landscapes/top_{config.top}": top_k}
            metrics |= {} if accuracy is None else {"landscapes/failures": accuracy}
            metrics |= {} if rank is None else {"landscapes/spearman": rank}
    columns = (
        *("proposer", "scenarios", "top-1", f"top-{config.top}", "failures foreseen", "95 %"),
        "Spearman",
    )
    notes = [
        "Landscapes: share of the best measured speed; a failed pick counts 0. A scenario's model "
        "is unknown; runs of other sizes of the same cluster calibrate the site.",
    ]
    table = BenchTable("picks among what was tried", columns, rows)
    return [table], notes, {"landscapes": [vars(one) for one in cases]}, metrics


def _failures(cases: Sequence[LandscapeCase]) -> tuple[int, int, str]:
    """Return rows whose running or failing was foreseen, all rows, and the interval in words."""
    told = [one for one in cases if one.right_failures is not None]
    right = sum(one.right_failures or 0 for one in told)
    total = sum(one.rows for one in told)
    low, high = wilson(right, total)
    return right, total, f"{low:.3f} to {high:.3f}" if total else "-"


def _shots(data: Path | None, seed: int, tell: Tell, config: ShardingBenchConfig) -> Part:
    """Count the runs that each tuner needs, on measured landscapes and on simulated sites."""
    tell("reading landscapes")
    known = read_landscapes()
    scored = known if data is None else read_landscapes(data)
    if data is not None:
        config = config.model_copy(update={"shots_sites": 0})
    cases = score_shots(scored, known, config, seed, tell)
    found = shots_figures(cases, seed)
    rows, curves, metrics = [], [], {}
    for one in found:
        median, p95 = _told(one.median, config), _told(one.p95, config)
        ranges = [
            f"{_told(low, config)} to {_told(high, config)}"
            for low, high in (one.median_95, one.p95_95)
        ]
        name = (one.kind, one.method)
        rows.append((*name, one.scenarios, one.runs, median, ranges[0], p95, ranges[1], one.found))
        curves.append((*name, *one.curve.values()))
        if one.method.startswith("loomworks"):
            label = f"shots/{one.kind}/{one.method.replace(', ', '-').replace(' ', '-')}"
            metrics[f"{label}/found"] = one.found
            for level, value in (("median", one.median), ("p95", one.p95)):
                metrics |= {f"{label}/{level}": value} if np.isfinite(value) else {}
    columns = (
        *("truth", "tuner", "scenarios", "runs", "median", "95 %", "p95", "95 %"),
        f"found in {config.shots_budget}",
    )
    tables = [
        BenchTable("shots to 99 % of the oracle's speed", columns, rows),
        BenchTable(
            "best so far over the oracle, mean after so many shots",
            ("truth", "tuner", *map(str, CURVE_AT)),
            curves,
        ),
    ]
    notes = [
        "Shots: a failed run counts as one; candidates are the measured rows, or all legal layouts "
        "of simulated sites, whose hidden constants are drawn by the seed. Site history: runs of "
        "other model sizes on the same cluster. Intervals: bootstrap over scenarios.",
    ]
    return tables, notes, {"shots": as_rows(cases)}, metrics


_PARTS: dict[str, Callable[..., Part]] = {
    "published": _published,
    "landscapes": _landscapes,
    "shots": _shots,
    "diagnosis": diagnosis,
    "plans": plans,
}


def _told(shots: float, config: ShardingBenchConfig) -> str:
    return f"{shots:.0f}" if np.isfinite(shots) else f"> {config.shots_budget}"

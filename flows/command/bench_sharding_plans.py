"""The track `plans` of `loom bench sharding`: whole questions, compiled."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from models.figures import BenchTable
from models.sharding.bench import ShardingBenchConfig, as_rows
from models.sharding.bench_plans import PlanCase, rank_speed, score_plans

Part = tuple[list[BenchTable], list[str], dict[str, Any], dict[str, float]]


def plans(
    data: Path | None, seed: int, tell: Callable[[str], None], config: ShardingBenchConfig
) -> Part:
    """Plan eight questions from two chips to 512, and compile every proposal anew.

    Args:
        data: Plays no part: the questions are fixed.
        seed: Plays no part: nothing is drawn.
        tell: Hears of each question.
        config: How many proposals; whether they are compiled.
    """
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as cache:
        cases = score_plans(Path(cache), tell, config.plans_compile, config.top)
    layouts, seconds = rank_speed()
    asked = [one.is_compiled for one in cases if config.plans_compile]
    metrics = {
        "plans/legal": sum(one.is_legal for one in cases) / len(cases),
        "plans/plan_cpu_s_max": max(one.plan_cpu_s for one in cases),
    }
    if asked:
        metrics["plans/compiled"] = sum(bool(one) for one in asked) / len(asked)
        metrics["plans/compile_cpu_s_max"] = max(_compile_s(cases).values())
    notes = [
        f"Plans: {layouts:,} layouts of one question enumerated and timed in {seconds:.2f} CPU s. "
        "What a bad start and the fastest layout take is predicted by our own cost model: "
        "simulated, not measured.",
    ]
    document = {"plans": as_rows(cases), "rank": {"layouts": layouts, "cpu_s": seconds}}
    return [_table(cases)], notes, document, metrics


def _compile_s(cases: list[PlanCase]) -> dict[str, float]:
    """Return CPU seconds of the compiles of each question."""
    spent: dict[str, float] = {}
    for one in cases:
        spent[one.question] = spent.get(one.question, 0.0) + (one.compile_cpu_s or 0.0)
    return spent


def _table(cases: list[PlanCase]) -> BenchTable:
    rows: list[tuple[object, ...]] = []
    compiles = _compile_s(cases)
    for name, spent in compiles.items():
        mine = [one for one in cases if one.question == name]
        compiled = [one.is_compiled for one in mine]
        rows.append(
            (
                *(name, mine[0].layout, mine[0].step_s, mine[0].start_times),
                *(mine[0].oracle_times, min(one.oracle_times for one in mine)),
                f"{sum(one.is_legal for one in mine)} of {len(mine)}",
                "-" if None in compiled else f"{sum(map(bool, compiled))} of {len(mine)}",
                *(mine[0].plan_cpu_s, spent),
            )
        )
    columns = (
        *("question", "first proposal", "step s", "bad start /", "/ fastest", "best of all /"),
        *("legal", "compiled", "plan CPU s", "compiles CPU s"),
    )
    return BenchTable("whole questions, simulated", columns, rows)

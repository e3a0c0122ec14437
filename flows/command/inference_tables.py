"""Tables of `loom bench inference`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.figures import BenchTable
from models.inference.bench.bout import Corner, Ring
from models.inference.bench.contest import Contest
from models.inference.bench.corners import OURS
from models.inference.bench.gates import Gate
from models.inference.bench.ratios import Line, ratio
from models.inference.bench.verdicts import Verdict
from models.inference.job_overhead import JobOverhead
from models.inference.planner_bench import PlannerScale


def gates_table(gates: Sequence[Gate]) -> BenchTable:
    """Lay the gates out."""
    rows = [(gate.name, gate.found, gate.wanted, _yes(gate.holds)) for gate in gates]
    return BenchTable("gates", ("gate", "found", "wanted", "holds"), rows)


def _yes(is_so: bool | None) -> str:
    return "-" if is_so is None else "yes" if is_so else "NO"


def verdict_table(judged: Sequence[Verdict]) -> BenchTable:
    """Lay out what was promised and reached."""
    rows = [
        (
            *(v.promise.words, v.found, v.promise.target, v.promise.stretch, _yes(v.is_kept)),
            *((v.worst[0], v.worst[1]) if v.worst else (None, None)),
            v.contests,
        )
        for v in judged
    ]
    return BenchTable(
        "ratios of CPU seconds, geometric means",
        ("what", "ratio", "target", "stretch", "reached", "worst in", "ratio there", "contests"),
        rows,
    )


def lines_table(given: Sequence[Contest], table: Sequence[Line]) -> BenchTable:
    """Lay out every contest: medians of CPU seconds, and how many times ours."""
    rows = []
    for contest in given:
        logical = int(contest.prompts.lengths.sum())
        for line in table:
            if line.contest == contest.name:
                computed = line.computed_tokens
                rows.append(
                    (
                        *(line.contest, line.corner, line.cpu_s),
                        ratio(table, contest.name, line.corner, OURS),
                        *(line.low_s, line.high_s, line.wall_s, computed),
                        None if computed is None else 1 - computed / logical,
                    )
                )
    return BenchTable(
        "CPU seconds at one thread (medians)",
        (
            *("contest", "engine", "cpu s", "x ours", "least", "most", "wall s"),
            *("prompt tokens computed", "saved"),
        ),
        rows,
    )


def saving_table(saved: Sequence[dict[str, Any]]) -> BenchTable:
    """Lay out what was computed of what was asked."""
    columns = tuple(saved[0]) if saved else ("contest",)
    return BenchTable("prefill saving of our engine", columns, [tuple(r.values()) for r in saved])


def ablation_table(table: Sequence[Line]) -> BenchTable:
    """Lay out our engine with parts taken out."""
    rows = [
        (
            *(line.contest, line.corner, line.cpu_s),
            ratio(table, line.contest, line.corner, "whole"),
            *(line.low_s, line.high_s, line.computed_tokens),
        )
        for line in sorted(table, key=lambda line: line.contest)
    ]
    columns = ("contest", "variant", "cpu s", "x whole", "least", "most", "prompt tokens computed")
    return BenchTable("our engine with one part taken out", columns, rows)


def wall_table(table: Sequence[Line]) -> BenchTable:
    """Lay out two threads."""
    rows = [
        (x.contest, x.corner, x.wall_s, x.cpu_s, ratio(table, x.contest, x.corner, OURS))
        for x in table
    ]
    title = "two threads: wall seconds say little where other work runs"
    return BenchTable(title, ("contest", "engine", "wall s", "cpu s", "cpu x ours"), rows)


def planner_table(planner: PlannerScale) -> BenchTable:
    """Lay out the planning of a large job."""
    rows = [
        ("prompts", planner.n_prompts),
        ("tokens", planner.n_tokens),
        ("CPU s, plan written", planner.total_s),
        ("peak memory, GB", planner.peak_rss_bytes / 1e9),
        ("saving / trie optimum", planner.planned_share / planner.optimal_share),
        ("CPU s to compile, once", planner.compile_s),
    ]
    return BenchTable("planner (allowed: 10 CPU s, 3 GB)", ("what", "number"), rows)


def overhead_table(overhead: JobOverhead) -> BenchTable:
    """Lay out a job beside its engine."""
    rows = [
        ("rows", overhead.n_rows),
        ("engine, CPU s (measured on whole groups)", overhead.engine_s),
        ("job: read, tokenise, plan, decode, journal, merge, CPU s", overhead.job_s),
        ("flow: Prefect, MLflow, report, their imports, CPU s", overhead.flow_s),
        ("job / engine", overhead.share),
        ("job and flow / engine", overhead.share_with_flow),
    ]
    return BenchTable("what a job costs beside its engine (allowed: .03)", ("what", "number"), rows)


def corner_table(everybody: Sequence[Corner], ring: Ring) -> BenchTable:
    """Say who competed."""
    rows = [
        (c.name, c.about, ring.abouts.get(c.name), ring.load_cpu_s.get(c.name)) for c in everybody
    ]
    return BenchTable("contestants", ("name", "what", "engine", "CPU s to load"), rows)

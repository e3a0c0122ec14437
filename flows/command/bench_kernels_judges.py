"""Tracks of `loom bench kernels` that judge the judges: models, mutants, cheats."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from models.figures import BenchTable
from models.kernels.audit.cheats import CHEAT_LIMITS, cheat_table, read_cheats
from models.kernels.bench import spread
from models.kernels.compiler import CompilePool
from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import judged_of
from models.kernels.harness import Harness
from models.kernels.mutation import mutation_score
from models.kernels.operators import find_operator
from models.kernels.workshop import workshop
from models.settings import ROOT

if TYPE_CHECKING:
    from flows.command.bench_kernels import Bench

CHEATS = ROOT / "tests" / "adversarial" / "kernels" / "cheats"


def models(bench: Bench) -> None:
    """Train models on generated kernels alone, refined on their captured inputs."""
    from models.kernels.device import capture_model, refine_kernels, train_model
    from models.kernels.device.workloads import find_workload

    rows, package = [], {op_id: bench.package.candidate(op_id) for op_id in bench.package.operators}
    for name in bench.config.models:
        bench.tell(f"models: {name}")
        capture = capture_model(find_workload(name), bench.seed)
        with workshop() as shop:
            refined = refine_kernels(capture, Harness(shop.zygote), package=package)
        report = train_model(name, refined.candidates, bench.config.steps, bench.seed + 1, capture)
        rows.append((
            name, len(report.needed), refined.unrefined_coverage, report.coverage,
            len(report.losses), report.largest_difference, report.tolerance,
            "yes" if report.agrees else "no", report.launches, report.cpu_s,
        ))  # fmt: skip
        bench.document.setdefault("models", []).append(report.model_dump(mode="json"))
        bench.metrics |= {f"models/{name}/covered": report.coverage,
                          f"models/{name}/largest_difference": report.largest_difference,
                          f"models/{name}/agrees": float(report.agrees)}  # fmt: skip
    bench.tables.append(BenchTable(
        "training on the device of generated kernels (paper: 80-87 % covered, refined 87-100 %)",
        ("model", "operators", "by the package", "covered", "steps", "loss differs by", "allowed",
         "as on the CPU", "launches", "CPU s"), rows,
    ))  # fmt: skip


def mutation(bench: Bench) -> None:
    """Change passing modules one fault at a time and count what the tests notice."""
    judged = judged_of(bench.package, EvaluationConfig(ops=bench.config.ops))
    by_name = {one.candidate.op_id: one.candidate for one in judged}
    chosen = spread([find_operator(name) for name in by_name], bench.config.mutated)
    count = 0

    def note(_: object) -> None:
        nonlocal count
        count += 1
        bench.tell(f"mutation: {count} mutants judged")

    with workshop() as shop:
        report = mutation_score(
            [by_name[spec.op_id] for spec in chosen], Harness(shop.zygote), bench.config.mutants,
            bench.seed, most_per_key=bench.config.judged_per_key, pool=shop.pool, on_judged=note,
        )  # fmt: skip
    bench.tables.append(BenchTable(
        f"mutants of {len(chosen)} modules: {report.count('killed')} killed, "
        f"{report.count('survived')} survived, {report.count('equivalent')} change nothing",
        ("kind of fault", "killed", "survived", "equivalent"),
        [(kind, fates.get("killed", 0), fates.get("survived", 0), fates.get("equivalent", 0))
         for kind, fates in report.by_kind.items()],
    ))  # fmt: skip
    for one in report.survivors:
        bench.notes.append(f"survived: {one.mutant.candidate.op_id} {one.mutant.kind}: {one.by}")
    bench.document["mutation"] = report.model_dump(mode="json")
    bench.metrics["mutation/kill_rate"] = report.kill_rate


def cheats(bench: Bench) -> None:
    """Run every module that once cheated through all stages, with and without the linter."""
    from models.kernels.execute.zygote import Zygote

    bench.tell("cheats")
    with Zygote() as zygote, CompilePool() as pool:
        rows = cheat_table(read_cheats(CHEATS), Harness(zygote, CHEAT_LIMITS), pool)
    caught = sum(row.stage != "missed" for row in rows)
    first = Counter(row.stage for row in rows)
    later = Counter(row.later_stage for row in rows if row.later_stage)
    bench.tables.append(BenchTable(
        f"modules that cheat: {caught} of {len(rows)} caught",
        ("stage", "first to refuse", "first when the linter is off"),
        [(stage, first.get(stage, 0), later.get(stage, 0))
         for stage in ("lint", "execution", "test", "audit", "compile", "missed")],
    ))  # fmt: skip
    bench.document["cheats"] = [row.model_dump(mode="json") for row in rows]
    bench.metrics["cheats/caught"] = caught / len(rows)

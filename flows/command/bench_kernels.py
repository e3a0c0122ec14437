"""`loom bench kernels`: a frozen package under suites, compilers, dialects, models and faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.command.bench_kernels_judges import cheats, models, mutation
from flows.command.bench_kernels_peers import ablation, dialects, peers
from flows.command.goals import goals_of
from models.errors import ConfigError
from models.figures import BenchReport, BenchTable
from models.kernels.bench import KernelsBenchConfig, evaluate_all, matrix_of, run_operators
from models.kernels.campaign import OperatorOptions
from models.kernels.config import EvaluationConfig
from models.kernels.evaluation import SuiteResult, judged_of, passing_all, shares
from models.kernels.ledger import Ledger
from models.kernels.operators import select_operators
from models.kernels.package import Package, read_package, write_package
from models.kernels.release import package_entries
from models.kernels.session.config import SessionConfig
from models.kernels.targets import summarise_matrix
from models.settings import get_settings
from tasks.cache import source_digest
from tasks.track import tracked_run

Tell = Callable[[str], None]
UNSEEN = ("V1", "V2", "V3")
"""Suites of the goal: other seeds, layouts, fuzzed shapes."""


@dataclass
class Bench:
    """What the tracks share and fill."""

    config: KernelsBenchConfig
    seed: int
    data: Path | None
    package: Package
    folder: Path
    workers: int
    tell: Tell
    tables: list[BenchTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    document: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float | None] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        """Raw outcomes of this benchmark."""
        return self.folder / "ledger.sqlite"


def run(
    data: Path | None, seed: int, tell: Tell, config: KernelsBenchConfig | None = None
) -> BenchReport:
    """Score a frozen package; without one, the synthesizer writes it first.

    Args:
        data: Samples of one's own (`models/kernels/samples/file.py`); only they are scored.
        seed: Of every suite but the public one, of mutants, and of weights.
        tell: Hears of each step.
        config: Tracks and sizes.

    Raises:
        ConfigError: The package has none of the operators, or `split` is no split.
    """
    config = config or KernelsBenchConfig()
    config.holdout  # noqa: B018 - an unusable split is told before hours of work
    folder = get_settings().home / "kernels" / "bench" / source_digest("models.kernels")[:12]
    folder.mkdir(parents=True, exist_ok=True)
    with tracked_run("bench-kernels", config) as tracked:
        bench = Bench(config, seed, data, _package(config, data, folder, tell), folder,
                      get_settings().workers, tell)  # fmt: skip
        bench.document = {
            "room": "kernels", "seed": seed, "data": None if data is None else data.name,
            "config": config.model_dump(mode="json"), "package": bench.package.sha,
            "versions": bench.package.manifest.versions,
        }  # fmt: skip
        tracks = ("suites",) if data is not None else config.tracks
        for name in tracks:
            tell(name)
            _TRACKS[name](bench)
        tracked.metrics(bench.metrics)
        tracked.artifact("bench.json", bench.document)
    return BenchReport(tuple(bench.tables), bench.document, tuple(bench.notes),
                       goals_of("kernels", bench.metrics))  # fmt: skip


def _package(config: KernelsBenchConfig, data: Path | None, folder: Path, tell: Tell) -> Package:
    """Read the package, or let the synthesizer write it; nothing is written after this."""
    if config.package is not None:
        return read_package(config.package)
    ops = config.ops
    if data is not None:
        from models.kernels.samples.file import read_samples

        ops = ",".join(sorted({record.op for record in read_samples(data)}))
    specs = select_operators(ops)
    options = OperatorOptions(
        run="bench", session=SessionConfig(targets=("sm90", "gfx942")),
        most_per_dtype=config.most_per_type,
    )  # fmt: skip
    ledger_file = folder / "ledger.sqlite"
    run_operators(specs, options, ledger_file, get_settings().workers,
                  lambda words: tell(f"writing kernels: {words}"))  # fmt: skip
    with Ledger(ledger_file) as ledger:
        rows = ledger.coverage(specs, run="bench", most_per_dtype=config.most_per_type).rows
        entries = package_entries(ledger, rows)
    if not entries:
        raise ConfigError(f"no kernel of `ops={ops[:200]}` passes its public tests; choose others")
    place = folder / "package"
    write_package(place, entries, name="bench", replace=True)
    return read_package(place)


def _suites(bench: Bench) -> None:
    """Put every module to every suite, and report the held-out operators apart."""
    config = EvaluationConfig(
        ops=bench.config.ops, suites=bench.config.suites, seed=bench.seed, data=bench.data,
        most_per_type=bench.config.most_per_type,
    )  # fmt: skip
    judged = judged_of(bench.package, config)
    results = evaluate_all(judged, config, bench.ledger, bench.workers, bench.tell)
    bench.document["suites"] = [one.model_dump(mode="json") for one in results]
    if bench.data is None:
        _goals(bench, results)
    bench.tables.append(_suite_table("suites", results))
    failed = [one for one in results if one.status == "failed"]
    rows = [(one.op_id, one.suite, one.passed, one.total, one.reason[:90]) for one in failed[:25]]
    bench.tables.append(BenchTable(
        f"modules that fail a suite ({len(failed)}; the first 25)",
        ("operator", "suite", "passed", "tests", "first failure"), rows,
    ))  # fmt: skip
    for suite, (good, tried, passed, total) in shares(results).items():
        bench.metrics |= {f"{suite}/share": good / tried, f"{suite}/tests": passed / total}


def _goals(bench: Bench, results: Sequence[SuiteResult]) -> None:
    """Compare with the paper's figures and the goals; operators without a module count."""
    salt, share = bench.config.holdout
    specs = select_operators(bench.config.ops)
    public = {one.op_id: one for one in results if one.suite == "S"}
    rows: list[tuple[Any, ...]] = []
    for words, chosen in (
        ("all", specs),
        (f"held out by {bench.config.split}",
         [spec for spec in specs if spec.split(salt, share) == "holdout"]),
    ):  # fmt: skip
        names = {spec.op_id for spec in chosen}
        kernel = sum(one.status == "kernel" for one in public.values() if one.op_id in names)
        counted = sum(one.is_passing for one in public.values() if one.op_id in names)
        own = [one for one in results if one.op_id in names and _counts(one, public)]
        good, tried = passing_all(own, UNSEEN)
        right, _ = passing_all(own, UNSEEN, with_fp64=True)
        passed = sum(one.passed for one in public.values() if one.op_id in names)
        rows.append((words, len(chosen), kernel, counted - kernel, passed,
                     sum(spec.tests for spec in chosen), good, right, tried))  # fmt: skip
        key = "all" if words == "all" else "holdout"
        bench.metrics |= {f"{key}/kernel_backed": kernel, f"{key}/operators": len(chosen),
                          f"{key}/unseen": good / tried if tried else None,
                          f"{key}/unseen_with_fp64": right / tried if tried else None}  # fmt: skip
    bench.tables.append(BenchTable(
        f"operators of {bench.config.ops} (paper: 481 of 568 pooled, 78.7 % best single run)",
        ("part", "operators", "kernel-backed", "metadata or empty", "tests passed", "tests",
         "pass V1-V3", "float64 counted", "of"), rows,
    ))  # fmt: skip
    bench.document["goals"] = [list(row) for row in rows]


def _counts(one: SuiteResult, public: dict[str, SuiteResult]) -> bool:
    return one.op_id in public and public[one.op_id].is_passing


def _suite_table(title: str, results: Sequence[SuiteResult]) -> BenchTable:
    rows = [
        (suite, good, tried, good / tried, passed, total, passed / total if total else None)
        for suite, (good, tried, passed, total) in shares(results).items()
    ]
    columns = ("suite", "operators passing", "operators", "share", "tests passed", "tests",
               "share of tests")  # fmt: skip
    return BenchTable(title, columns, rows)


def _targets(bench: Bench) -> None:
    """Compile the kernels of every module for every target."""
    judged = judged_of(bench.package, EvaluationConfig(ops=bench.config.ops))
    rows = matrix_of(judged, bench.config, bench.ledger, bench.workers, bench.tell)
    found = summarise_matrix(rows)
    bench.tables.append(BenchTable(
        f"compiled without a GPU ({len(found.portable)} of {found.operators} operators for all)",
        ("target", "compiled", "kernels", "share", "failures"),
        [(name, one.compiled, one.total, one.compiled / one.total if one.total else None,
          ", ".join(f"{kind} {count}" for kind, count in sorted(one.error_classes.items())))
         for name, one in found.targets.items()],
    ))  # fmt: skip
    bench.document["targets"] = found.model_dump(mode="json")
    compiled = sum(one.compiled for one in found.targets.values())
    total = sum(one.total for one in found.targets.values())
    bench.metrics |= {"targets/share": compiled / total if total else None,
                      "targets/portable": found.portable_share}  # fmt: skip


_TRACKS: dict[str, Callable[[Any], None]] = {
    "suites": _suites, "targets": _targets, "dialects": dialects, "models": models,
    "mutation": mutation, "cheats": cheats, "ablation": ablation, "peers": peers,
}  # fmt: skip

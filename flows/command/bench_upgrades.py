"""`loom bench upgrades`: the policy table of the test part, with its baselines and peers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from models.figures import BenchReport, BenchTable
from models.settings import get_settings
from models.upgrades import UpgradeConfig, asof_features
from models.upgrades.ablation import ablation_table
from models.upgrades.benchmark import BenchmarkResult, core_table, run_stages
from models.upgrades.forecast.build import CANDIDATES
from models.upgrades.forecast.peers import PEERS, installed_peers
from models.upgrades.history import LoadedTable, load_table, task_runs
from models.upgrades.leave_run_out import GROUPS, leave_run_out_table
from models.upgrades.report.words import caveats
from models.upgrades.sweep import sweep_digest, sweep_table
from tasks.track import tracked_run

# In the order in which a narrow terminal keeps them.
POLICY_COLUMNS = {
    "policy": "policy",
    "completed": "done",
    "cancellation_rate": "cancelled share",
    "regret": "regret",
    "is_selected": "selected",
    "scheduled": "started",
    "cancelled": "cancelled",
    "x_completed": "x done",
    "x_cancellation": "x cancelled share",
    "utilisation": "utilisation",
    "waste": "waste",
    "cost_per_task": "cost/task",
}
T = TypeVar("T")


def run(data: Path | None, seed: int, tell: Callable[[str], None]) -> BenchReport:
    """Fit on the first part of the file by time, score the last 30 %, record the run.

    A file without start times (workflow tasks) has no windows: its runs are left out in
    turn and only the forecasts are scored.
    """
    tell("reading and checking the data")
    loaded = load_table(data, None, get_settings().datasets)
    config = UpgradeConfig(data=data, seed=seed)
    with tracked_run("bench-upgrades", config) as tracked:
        tracked.dataset(loaded.contract.name, loaded.checked.digest, loaded.path)
        document: dict[str, Any] = {
            "room": "upgrades",
            "source": loaded.source.name,
            "data": loaded.path.name,
            "data_sha256": loaded.checked.digest,
            "rows": len(loaded.checked.frame),
            "quarantined_rows": len(loaded.checked.quarantine),
            "seed": seed,
            "peers": list(installed_peers()),
        }
        measure = _measure_runs if loaded.source.read is None else _measure_history
        report = measure(loaded, config, document, tell)
        cpu_s = document["cpu_s"]
        tracked.metrics({f"cpu_s/{name.replace(' ', '_')}": value for name, value in cpu_s.items()})
        tracked.artifact("bench.json", document)
    return report


def _measure_runs(
    loaded: LoadedTable,
    config: UpgradeConfig,
    document: dict[str, Any],
    tell: Callable[[str], None],
) -> BenchReport:
    cpu_s: dict[str, float] = {}
    runs = task_runs(loaded.checked.frame)
    table = timed("leave runs out", cpu_s, lambda: leave_run_out_table(runs, config, tell))
    document |= {"forecasts": records(table), "cpu_s": cpu_s}
    title = f"durations of runs that were left out ({GROUPS} groups of whole runs)"
    notes = ("No start times in this file: nothing is scheduled and no margin is measured.",)
    return BenchReport((as_table(title, table), cpu_table(cpu_s)), document, notes=notes)


def _measure_history(
    loaded: LoadedTable,
    config: UpgradeConfig,
    document: dict[str, Any],
    tell: Callable[[str], None],
) -> BenchReport:
    cpu_s: dict[str, float] = {}
    history = loaded.history()
    config = config.suited(history.window_s)
    timed("features", cpu_s, lambda: asof_features(history))
    stages = timed("models and policies", cpu_s, lambda: run_stages(history, config, tell=tell))
    split, features, models = stages.split, stages.features, stages.models
    core = timed("4 forecasters x 3 dispatchers", cpu_s, lambda: core_table(history, config))
    tell("ablation of the forecaster")
    ablation = timed(
        "ablation", cpu_s, lambda: ablation_table(models, history, features, split, config)
    )
    ours = {name: models[name] for name in CANDIDATES}
    peers = {name: models[name] for name in installed_peers()}
    grid = timed(
        "sweep", cpu_s, lambda: sweep_table(history, features, split, ours, peers, config, tell)
    )
    document |= {
        "window_h": config.window_s / 3_600,
        "cpu_s": cpu_s,
        "core_policies": records(core),
        "forecaster_ablation": records(ablation),
        "sweep": records(grid),
        "sweep_digest": records(sweep_digest(grid)),
        **json.loads(stages.result.to_json()),
    }
    notes = caveats(history)
    if len(installed_peers()) < len(PEERS):
        missing = ", ".join(name for name in PEERS if name not in installed_peers())
        notes = (*notes, f"Not installed, so not compared: {missing} (make peers).")
    return BenchReport(
        (*tables(stages.result), *more_tables(ablation, grid), cpu_table(cpu_s)),
        document,
        notes=notes,
    )


def timed(name: str, cpu_s: dict[str, float], work: Callable[[], T]) -> T:
    """Do the work and note its CPU seconds: the machine's noise hardly moves them."""
    before = time.process_time()
    done = work()
    cpu_s[name] = round(time.process_time() - before, 2)
    return done


def tables(result: BenchmarkResult) -> tuple[BenchTable, ...]:
    """Lay out what the benchmark found, trivial baselines and unfavourable rows included."""
    headline = [
        (reference, measure, interval.value, interval.low, interval.high)
        for reference, ratios in result.headline.items()
        for measure, interval in ratios._asdict().items()
    ]
    policies = result.policies[[*POLICY_COLUMNS]].rename(columns=POLICY_COLUMNS)
    planned = result.planned
    return (
        BenchTable(
            f"selected: {result.selection.policy.label}, as a ratio to each reference",
            ("reference", "measure", "ratio", "95 % low", "95 % high"),
            headline,
        ),
        as_table(
            "cancellations at equal completions (cancelled share / that of the reference)",
            result.equal_completions,
        ),
        as_table("forecasts on the test part (pinball in log minutes)", result.forecasts),
        as_table("coverage per type of 200 tasks or more", result.by_type),
        as_table("policies on the test part, cheapest first (cancels: share of starts)", policies),
        *([as_table("planned tasks alone (too few for a claim)", planned)] if len(planned) else []),
        BenchTable(
            "one change of the policy at a time (ratio, 95 % interval)",
            ("change", "measure", "ratio", "95 % low", "95 % high"),
            [
                (change, measure, interval.value, interval.low, interval.high)
                for change, ratios in result.ablation.items()
                for measure, interval in ratios._asdict().items()
            ],
        ),
        BenchTable("events and lanes", ("what", "number"), list(result.sizes.items())),
    )


def more_tables(ablation: pd.DataFrame, grid: pd.DataFrame) -> tuple[BenchTable, ...]:
    """Lay out the ablation of the forecaster and the sweep."""
    return (
        as_table(
            "one change of the forecaster at a time (level .9, online, informed retries)", ablation
        ),
        as_table(
            "our regret / theirs when windows, load and the cost of a cancellation change "
            "(every cell: --json)",
            sweep_digest(grid).round(3),
        ),
    )


def cpu_table(cpu_s: dict[str, float]) -> BenchTable:
    """Lay out CPU seconds."""
    return BenchTable("CPU seconds", ("what", "seconds"), list(cpu_s.items()))


def records(frame: pd.DataFrame) -> Any:
    """Return a frame as JSON records; not measured is null."""
    return json.loads(frame.to_json(orient="records"))


def as_table(title: str, frame: pd.DataFrame) -> BenchTable:
    """Turn a frame into a table; missing values are not measured."""
    rows: list[tuple[Any, ...]] = [
        tuple(None if pd.isna(value) else value for value in row)
        for row in frame.astype(object).itertuples(index=False, name=None)
    ]
    return BenchTable(title, tuple(map(str, frame.columns)), rows)

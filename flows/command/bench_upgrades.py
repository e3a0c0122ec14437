"""`loom bench upgrades`: the policy table of the test part, with its baselines and peers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from models.contracts import load_dataset, read_contract
from models.figures import BenchReport, BenchTable
from models.settings import get_settings
from models.upgrades import UpgradeConfig, asof_features, canonical_events
from models.upgrades.benchmark import BenchmarkResult, core_table, run_benchmark
from models.upgrades.report.page import CAVEATS
from tasks.track import tracked_run

DATASET = "upgrades/lanl_outages"
# In the order in which a narrow terminal keeps them.
POLICY_COLUMNS = {
    "policy": "policy",
    "completed": "done",
    "cancellation_rate": "cancels",
    "regret": "regret",
    "is_selected": "selected",
    "scheduled": "started",
    "cancelled": "cancelled",
    "x_completed": "x done",
    "x_cancellation": "x cancels",
    "utilisation": "utilisation",
    "waste": "waste",
    "cost_per_task": "cost/task",
}
T = TypeVar("T")


def run(data: Path | None, seed: int) -> BenchReport:
    """Fit on the first part of the file by time, score the last 30 %, record the run."""
    config = UpgradeConfig(data=data, seed=seed)
    folder = get_settings().datasets / DATASET
    contract = read_contract(folder)
    path = data or folder / contract.file
    checked = load_dataset(contract, path)
    with tracked_run("bench-upgrades", config) as tracked:
        tracked.dataset(contract.name, checked.digest, path)
        cpu_s: dict[str, float] = {}
        history = canonical_events(checked.frame)
        timed("features", cpu_s, lambda: asof_features(history))
        result = timed("whole benchmark", cpu_s, lambda: run_benchmark(checked.frame, config))
        core = timed("4 forecasters x 2 dispatchers", cpu_s, lambda: core_table(history, config))
        document = {
            "room": "upgrades",
            "data": path.name,
            "data_sha256": checked.digest,
            "rows": len(checked.frame),
            "quarantined_rows": len(checked.quarantine),
            "seed": seed,
            "cpu_s": cpu_s,
            "core_policies": json.loads(core.to_json(orient="records")),
            **json.loads(result.to_json()),
        }
        tracked.metrics({f"cpu_s/{name.replace(' ', '_')}": value for name, value in cpu_s.items()})
        tracked.artifact("bench.json", document)
    return BenchReport(tables(result, cpu_s), document, notes=CAVEATS)


def timed(name: str, cpu_s: dict[str, float], work: Callable[[], T]) -> T:
    """Do the work and note its CPU seconds: the machine's noise hardly moves them."""
    before = time.process_time()
    done = work()
    cpu_s[name] = round(time.process_time() - before, 2)
    return done


def tables(result: BenchmarkResult, cpu_s: dict[str, float]) -> tuple[BenchTable, ...]:
    """Lay out what the benchmark found, trivial baselines and unfavourable rows included."""
    headline = [
        (reference, measure, interval.value, interval.low, interval.high)
        for reference, ratios in result.headline.items()
        for measure, interval in ratios._asdict().items()
    ]
    policies = result.policies[[*POLICY_COLUMNS]].rename(columns=POLICY_COLUMNS)
    return (
        BenchTable(
            f"selected: {result.selection.policy.label}, as a ratio to each reference",
            ("reference", "measure", "ratio", "95 % low", "95 % high"),
            headline,
        ),
        as_table("forecasts on the test part (pinball in log minutes)", result.forecasts),
        as_table("policies on the test part, cheapest first (cancels: share of starts)", policies),
        as_table("planned tasks alone (too few for a claim)", result.planned),
        BenchTable(
            "one change at a time (ratio, 95 % interval)",
            ("change", "measure", "ratio", "95 % low", "95 % high"),
            [
                (change, measure, interval.value, interval.low, interval.high)
                for change, ratios in result.ablation.items()
                for measure, interval in ratios._asdict().items()
            ],
        ),
        BenchTable("events and lanes", ("what", "number"), list(result.sizes.items())),
        BenchTable("CPU seconds", ("what", "seconds"), list(cpu_s.items())),
    )


def as_table(title: str, frame: pd.DataFrame) -> BenchTable:
    """Turn a frame into a table; missing values are not measured."""
    rows: list[tuple[Any, ...]] = [
        tuple(None if pd.isna(value) else value for value in row)
        for row in frame.astype(object).itertuples(index=False, name=None)
    ]
    return BenchTable(title, tuple(map(str, frame.columns)), rows)

"""Simulate policies and score forecasts against what really happened."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.upgrades import (
    FORECASTERS,
    DurationModel,
    FeatureTable,
    History,
    PlanOutcome,
    Policy,
    RolloutPlan,
    Split,
    UpgradeConfig,
    simulate_plan,
)
from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.cells import Cell, score_cells
from models.upgrades.policy import policies_of
from models.upgrades.report import ReportInputs, figures, render_report
from models.upgrades.select import PolicyScore, score_forecaster
from models.upgrades.summary import forecaster_metrics
from tasks.cache import ByContent
from tasks.track import TrackedRun

UPGRADES = ByContent(room="models.upgrades")


@task(task_run_name="select-{name}", cache_policy=UPGRADES, persist_result=True)
def score_candidates(
    name: str,
    model: DurationModel,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> list[PolicyScore]:
    """Simulate all policies of one forecaster on the select part; see `score_forecaster`."""
    policies = policies_of(name, config)
    return score_forecaster(model, policies, history, features, split.select, split, config)


@task(task_run_name="score-{name}", cache_policy=UPGRADES, persist_result=True)
def score_policies(
    name: str,
    policies: Sequence[Policy],
    model: DurationModel | None,
    history: History,
    features: FeatureTable,
    split: Split,
    config: UpgradeConfig,
) -> list[Cell]:
    """Simulate the policies of one forecaster on the test part; see `score_cells`."""
    models = {} if model is None else {name: model}
    cells = score_cells(policies, history, features, split, models, config)
    get_run_logger().info("%d policies of %s on %d tasks", len(cells), name, len(split.test))
    return cells


@task(cache_policy=NO_CACHE)
def replay_plan(
    plan: RolloutPlan, history: History, split: Split, config: UpgradeConfig
) -> PlanOutcome:
    """Let the plan meet the durations that really happened; see `simulate_plan`."""
    outcome = simulate_plan(plan, history, split, config)
    get_run_logger().info(
        "plan replayed: %d completed, %d rolled back",
        *(outcome.metrics.completed, outcome.metrics.cancelled),
    )
    return outcome


@task(cache_policy=NO_CACHE)
def record_forecasters(result: BenchmarkResult, names: Sequence[str], run: TrackedRun) -> None:
    """Record a child run per forecaster, so that the experiment browser can compare them."""
    for name in names:
        spec = FORECASTERS[name]
        params = {"forecaster": name, "level": spec.level, "is_calibrated": spec.is_calibrated}
        with run.child(name, params) as child:
            child.metrics(forecaster_metrics(result, name))


@task(cache_policy=NO_CACHE)
def write_report(inputs: ReportInputs, run: TrackedRun) -> Path:
    """Write the HTML report and its numbers as JSON, to disk and to the tracked run.

    Returns the HTML file; the JSON file lies beside it. See `render_report` and `figures`.
    """
    file = get_settings().home / "reports" / f"plan-upgrades-{run.run_id}.html"
    file.parent.mkdir(parents=True, exist_ok=True)
    numbers = figures(inputs)
    file.with_suffix(".json").write_text(json.dumps(numbers, allow_nan=False), encoding="utf-8")
    file.write_text(render_report(inputs, numbers), encoding="utf-8")
    run.artifact("figures.json", numbers)
    run.artifact("report.html", file)
    get_run_logger().info("report: %s", file)
    return file

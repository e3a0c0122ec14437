"""`loom bench upgrades-scale`: CPU seconds of every stage at the size of a large fleet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from flows.command.bench_upgrades import timed
from models.errors import ConfigError
from models.figures import BenchReport, BenchTable
from models.upgrades import Policy, UpgradeConfig, asof_features
from models.upgrades.fleet import fleet_from_tables
from models.upgrades.forecast.quantile_trees import QuantileTrees
from models.upgrades.generator import FleetConfig, generate_fleet
from models.upgrades.history import imported_events
from models.upgrades.rollout import RolloutConfig, plan_fleet
from models.upgrades.rollout.backlog import forecast_backlog
from models.upgrades.simulate.speed import measure
from models.upgrades.validate.fleet_plan import check_fleet_plan
from tasks.track import tracked_run

HOSTS, FIT_ROWS, EVENTS = 100_000, 200_000, 1_000_000
# CPU seconds allowed, as announced; None: no target.
TARGETS: dict[str, float | None] = {
    "generate the fleet and its past": None,
    "canonical events": None,
    "features of all events": 20.0,
    f"fit 13 quantiles on {FIT_ROWS:,} rows": 120.0,
    f"forecast {HOSTS:,} tasks": None,
    f"plan {HOSTS:,} hosts x 7 windows, greedy": 60.0,
    f"plan {HOSTS:,} hosts x 7 windows, classes": 60.0,
    "check the plan": None,
    f"simulate {EVENTS:,} tasks, online": 30.0,
    f"simulate {EVENTS:,} tasks, calendar": 30.0,
    f"simulate {EVENTS:,} tasks, backfill": 30.0,
}


def run(data: Path | None, seed: int, tell: Callable[[str], None]) -> BenchReport:
    """Measure on a generated fleet; there is no file to give."""
    if data is not None:
        raise ConfigError(
            f"upgrades-scale generates its fleet from --seed and takes no file, got --data {data}"
        )
    cpu_s: dict[str, float] = {}
    extra: dict[str, Any] = {}

    def timing(name: str, work: Callable[[], Any]) -> Any:
        tell(name)
        return timed(name, cpu_s, work)

    names = iter(TARGETS)
    made = timing(next(names), lambda: generate_fleet(scale_config(seed)))
    history = timing(next(names), lambda: imported_events(made.events))
    features = timing(next(names), lambda: asof_features(history))
    config = UpgradeConfig(seed=seed)
    rows = np.arange(min(FIT_ROWS, len(history)))
    duration_s = history.seconds("duration_s")[rows].astype(float)
    model = QuantileTrees(config.levels, config.trees, seed)
    timing(
        next(names), lambda: model.fit(features.take(rows), duration_s, history.is_censored[rows])
    )
    fleet = fleet_from_tables(made.tables)
    plan_s = int(history.seconds("end_s").max()) + 1
    policy = Policy("xgb-quantile", "online", 0.9)
    forecast = timing(
        next(names), lambda: forecast_backlog(model, policy, history, fleet, plan_s, config)
    )
    plan = None
    for solver in ("greedy", "classes"):
        rollout = RolloutConfig.model_validate({"solver": solver, "seed": seed})
        place = partial(plan_fleet, fleet, forecast, rollout, plan_s, policy.label)
        plan = timing(next(names), place)
        extra[f"plan, {solver}"] = {
            "placed": len(plan.assignments),
            "refused": len(plan.refusals),
            "objective": plan.objective,
            "bound": plan.bound,
        }
    assert plan is not None
    violations = timing(next(names), lambda: check_fleet_plan(plan, fleet, rollout))
    speeds = {}
    for dispatch in ("online", "calendar", "backfill"):
        name = next(names)
        tell(name)
        speed = measure(EVENTS, seed, dispatch)
        cpu_s[name] = round(speed.cpu_s, 2)
        speeds[dispatch] = asdict(speed)
    document = {
        "room": "upgrades-scale",
        "seed": seed,
        "events": len(history),
        "hosts": len(fleet.hosts),
        "backlog": len(fleet.backlog),
        "cpu_s": cpu_s,
        "targets_s": TARGETS,
        "plans": extra,
        "violations": len(violations),
        "simulation": speeds,
    }
    with tracked_run("bench-upgrades-scale", config) as tracked:
        tracked.metrics({f"cpu_s/{name}": value for name, value in _plain(cpu_s).items()})
        tracked.artifact("bench.json", document)
    decisions = [
        (name, s["in_line"], s["decision_median_ms"], s["decision_p99_ms"], s["compile_s"])
        for name, s in speeds.items()
    ]
    return BenchReport(
        (
            BenchTable(
                "CPU seconds",
                ("what", "seconds", "allowed"),
                [(name, cpu_s[name], target) for name, target in TARGETS.items()],
            ),
            BenchTable(
                "one dispatch decision (allowed: 1 ms)",
                ("dispatcher", "tasks in line", "median ms", "P99 ms", "compile s, once"),
                decisions,
            ),
            BenchTable(
                "plans",
                ("solver", "placed", "refused", "objective", "upper bound"),
                [(name, *figures.values()) for name, figures in extra.items()],
            ),
        ),
        json.loads(json.dumps(document)),
        notes=(
            f"{len(history):,} past events, {len(fleet.hosts):,} hosts, {len(fleet.backlog):,} "
            f"tasks in the backlog, all generated; rules broken by the last plan: "
            f"{len(violations)}",
        ),
    )


def scale_config(seed: int) -> FleetConfig:
    """A fleet of 100,000 hosts with about a million past events and a task per host."""
    return FleetConfig(hosts=HOSTS, domains=40, services=60, days=140, seed=seed)


def _plain(values: dict[str, float]) -> dict[str, float]:
    return {name.replace(" ", "_").replace(",", ""): value for name, value in values.items()}

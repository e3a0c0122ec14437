"""The table of flows and benchmarks: names and where to find them, nothing imported."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from models.errors import unknown_name


@dataclass(frozen=True)
class FlowEntry:
    """One flow, by the places of its parts (`module:attribute`)."""

    name: str
    room: str
    about: str
    flow: str
    config: str
    takes_data: bool = True
    """Whether `--data PATH` sets the config key `data`."""


@dataclass(frozen=True)
class BenchEntry:
    """One benchmark: a function of (data, seed, tell) that returns a `BenchReport`.

    `tell` takes a few words before each long step.
    """

    room: str
    about: str
    run: str


FLOWS = (
    FlowEntry(
        name="plan-upgrades",
        room="upgrades",
        about="predict how long upgrades take and fill maintenance windows (Acela)",
        flow="flows.plan_upgrades:plan_upgrades",
        config="models.upgrades.config:UpgradeConfig",
    ),
    FlowEntry(
        name="plan-fleet",
        room="upgrades",
        about="place the backlog of a fleet in its windows, in waves, and say why not",
        flow="flows.plan_fleet:plan_fleet",
        config="models.upgrades.rollout.flow_config:FleetPlanConfig",
    ),
    FlowEntry(
        name="execute-upgrades",
        room="upgrades",
        about="carry out a plan through an executor: windows, waves, gates, rollback, audit log",
        flow="flows.execute_upgrades:execute_upgrades",
        config="models.upgrades.execute.config:ExecuteConfig",
    ),
    FlowEntry(
        name="monitor-upgrades",
        room="upgrades",
        about="judge the champion by what happened since: coverage, drift, cost, verdict",
        flow="flows.monitor_upgrades:monitor_upgrades",
        config="models.upgrades.monitor.config:MonitorConfig",
    ),
    FlowEntry(
        name="backtest-upgrades",
        room="upgrades",
        about="walk forward: fit, select and simulate at several instants of a history",
        flow="flows.backtest_upgrades:backtest_upgrades",
        config="models.upgrades.backtest:BacktestConfig",
    ),
)

BENCHES = (
    BenchEntry(
        room="upgrades",
        about="predictors x dispatchers on the later 30 % of the outage history",
        run="flows.command.bench_upgrades:run",
    ),
    BenchEntry(
        room="upgrades-scale",
        about="CPU seconds of every stage on a generated fleet of 100,000 hosts",
        run="flows.command.bench_upgrades_scale:run",
    ),
    BenchEntry(
        room="platform",
        about="what Prefect and MLflow cost over plain functions; start-up of `loom`",
        run="flows.command.bench_platform:run",
    ),
)


def find_flow(name: str) -> FlowEntry:
    """Return the entry of a flow; `-` and `_` are the same.

    Raises:
        UnknownNameError: There is no such flow; the nearest is named.
    """
    wanted = name.replace("_", "-").lower()
    for entry in FLOWS:
        if entry.name == wanted:
            return entry
    raise unknown_name("flow", name, [entry.name for entry in FLOWS], "see: loom list")


def find_bench(room: str) -> BenchEntry:
    """Return the benchmark of a room.

    Raises:
        UnknownNameError: There is no such benchmark; the nearest is named.
    """
    for entry in BENCHES:
        if entry.room == room.replace("_", "-").lower():
            return entry
    raise unknown_name("benchmark", room, [entry.room for entry in BENCHES], "see: loom list")


def load(place: str) -> Any:
    """Import `module:attribute`."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)

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
    """One benchmark: a function of (data, seed) that returns a `BenchReport`."""

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
)

BENCHES = (
    BenchEntry(
        room="upgrades",
        about="predictors x dispatchers on the later 30 % of the outage history",
        run="flows.command.bench_upgrades:run",
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

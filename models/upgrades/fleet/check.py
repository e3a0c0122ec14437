"""Check the tables of a fleet row by row; the first bad row is named with its remedy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from models.upgrades.config import DAY_S
from models.upgrades.fleet.base import (
    ALL,
    CapError,
    DuplicateIdError,
    EmptyBacklogError,
    Fleet,
    FleetTableError,
    FleetTimeError,
    UnknownReferenceError,
    WindowError,
)
from models.upgrades.schedule.precedence import precedence_ranks

# Bookings start in the 1970s and end before the year 9999; milliseconds do not.
_LATEST_S = 253_370_764_800


def check_fleet(fleet: Fleet) -> None:
    """Raise the typed error of the first thing that makes the fleet unusable."""
    if fleet.backlog.empty:
        raise EmptyBacklogError(
            "backlog.parquet has no rows, so there is nothing to plan; export the open tasks"
        )
    for file, table, key in (
        ("hosts.parquet", fleet.hosts, "host_id"),
        ("services.csv", fleet.services, "service"),
        ("domains.csv", fleet.domains, "domain"),
        ("types.csv", fleet.types, "type"),
        ("backlog.parquet", fleet.backlog, "task"),
    ):
        _unique(file, table[key])
    _check_domains(fleet.domains)
    _check_services(fleet.services)
    _known("hosts.parquet", fleet.hosts["domain"], fleet.domains["domain"], "domains.csv")
    _known("hosts.parquet", fleet.hosts["service"], fleet.services["service"], "services.csv")
    _check_types(fleet)
    _check_freezes(fleet)
    _check_backlog(fleet)


def _check_domains(domains: pd.DataFrame) -> None:
    file = "domains.csv"
    _refuse(
        *(CapError, file, domains["lanes"] < 1, domains["lanes"]),
        "lanes must be at least 1, got {}; without a lane nothing of the domain can be upgraded",
    )
    start_s, window_s = domains["window_start_s"], domains["window_s"]
    _refuse(
        *(WindowError, file, window_s <= 0, window_s),
        "window_s must be above 0, got {}; give the length of the window in seconds",
    )
    _refuse(
        *(WindowError, file, window_s > DAY_S, window_s),
        f"a daily window of {{}} s overlaps that of the next day; at most {DAY_S} s",
    )
    _refuse(
        *(WindowError, file, (start_s < 0) | (start_s >= DAY_S), start_s),
        f"window_start_s counts from local midnight, in [0, {DAY_S}), got {{}}; take it modulo",
    )


def _check_services(services: pd.DataFrame) -> None:
    share, most = services["max_down_share"], services["max_down_hosts"]
    _refuse(
        *(CapError, "services.csv", (share <= 0) | (share > 1), share),
        "max_down_share must be in (0, 1], got {}; a cap of 0 would freeze the service for ever: "
        "use freezes.csv for that",
    )
    _refuse(
        *(CapError, "services.csv", (most < 1) | (most % 1 > 0), most),
        "max_down_hosts must be a whole number of at least 1, or blank for none, got {}",
    )
    domains = services["max_domains_per_window"]
    _refuse(
        *(CapError, "services.csv", (domains < 1) | (domains % 1 > 0), domains),
        "max_domains_per_window must be a whole number of at least 1, or blank for no limit, "
        "got {}",
    )


def _check_types(fleet: Fleet) -> None:
    known = set(fleet.types["type"])
    for row, (type_, after) in enumerate(fleet.after.items()):
        for first in after:
            if first not in known:
                raise UnknownReferenceError(
                    f"types.csv row {row}: '{type_}' comes after '{first}', which the file does "
                    "not list; add that type or remove it from 'after'"
                )
    precedence_ranks(fleet.after)
    rollback_s = fleet.types["rollback_s"]
    _refuse(
        *(FleetTimeError, "types.csv", rollback_s < 0, rollback_s),
        "rollback_s must be 0 or more, got {}; give the time a rollback takes",
    )


def _check_freezes(fleet: Fleet) -> None:
    domains, services = {ALL, *fleet.domains["domain"]}, {ALL, *fleet.services["service"]}
    for row, freeze in enumerate(fleet.freezes):
        for name, known, file in (
            (freeze.domain, domains, "domains.csv"),
            (freeze.service, services, "services.csv"),
        ):
            if name not in known:
                raise UnknownReferenceError(
                    f"freezes.csv row {row}: '{name}' is not in {file}; correct it, or '*' for all"
                )
        if freeze.from_s >= freeze.until_s:
            raise WindowError(
                f"freezes.csv row {row}: the freeze of {freeze.owner} ends at {freeze.until_s}, "
                f"not after its start {freeze.from_s}; exchange or correct the two times"
            )


def _check_backlog(fleet: Fleet) -> None:
    file, backlog = "backlog.parquet", fleet.backlog
    _known(file, backlog["host_id"], fleet.hosts["host_id"], "hosts.parquet")
    _known(file, backlog["type"], fleet.types["type"], "types.csv")
    _refuse(
        *(FleetTableError, file, backlog["value"] <= 0, backlog["value"]),
        "value must be above 0, got {}; leave tasks that are worth nothing out",
    )
    arrival_s, deadline_s = backlog["arrival_s"], backlog["deadline_s"]
    _refuse(
        *(FleetTimeError, file, (arrival_s < 0) | (arrival_s > _LATEST_S), arrival_s),
        "arrival_s must be seconds since 1970, got {}; convert milliseconds or dates",
    )
    _refuse(
        *(FleetTimeError, file, deadline_s <= arrival_s, deadline_s),
        "the deadline {} is not after the arrival; correct it, or a very large number for none",
    )


def _unique(file: str, ids: pd.Series) -> None:
    is_twice = ids.duplicated().to_numpy(bool)
    if is_twice.any():
        row = int(np.flatnonzero(is_twice)[0])
        first = int(np.flatnonzero((ids == ids[row]).to_numpy(bool))[0])
        raise DuplicateIdError(
            f"{file} row {row}: {ids.name} '{ids[row]}' is already in row {first}; "
            f"{int(is_twice.sum())} such rows: keep one of each"
        )


def _known(file: str, names: pd.Series, known: Iterable[str], where: str) -> None:
    is_unknown = ~names.isin(set(known)).to_numpy(bool)
    if is_unknown.any():
        row = int(np.flatnonzero(is_unknown)[0])
        raise UnknownReferenceError(
            f"{file} row {row}: {names.name} '{names[row]}' is not in {where}; "
            f"{int(is_unknown.sum())} such rows: add it there or correct the name"
        )


def _refuse(
    kind: type[FleetTableError], file: str, mask: pd.Series, values: pd.Series, words: str
) -> None:
    is_bad = mask.to_numpy(bool)
    if is_bad.any():
        row = int(np.flatnonzero(is_bad)[0])
        raise kind(f"{file} row {row}: {words.format(values[row])} ({int(is_bad.sum())} such rows)")

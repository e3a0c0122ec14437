"""Read the tables of a fleet folder and give their columns the types of the schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from models.errors import DataError, DatasetMissingError, DatasetUnreadableError
from models.upgrades.fleet.base import (
    EmptyBacklogError,
    Fleet,
    FleetTableError,
    FleetTimeError,
    Freeze,
)
from models.upgrades.fleet.check import check_fleet
from models.upgrades.history.clock import one_clock

_TIMES = ("window_start_s", "window_s", "from_s", "until_s", "arrival_s", "deadline_s")
_WHOLE = (*_TIMES, "lanes", "rollback_s")
_FLAGS = {"true": True, "false": False, "1": True, "0": False}

SCHEMA: Mapping[str, tuple[str, ...]] = {
    "hosts.parquet": ("host_id", "domain", "rack", "service", "hardware", "firmware"),
    "services.csv": ("service", "max_down_share", "max_down_hosts", "is_stateful"),
    "domains.csv": ("domain", "lanes", "window_start_s", "window_s"),
    "freezes.csv": ("domain", "service", "from_s", "until_s", "owner", "reason"),
    "types.csv": ("type", "after", "needs_reboot", "rollback_s"),
    "backlog.parquet": ("task", "host_id", "type", "release", "value", "arrival_s", "deadline_s"),
    "events.parquet": ("host_id", "type", "release", "started", "ended", "outcome"),
}

PAST = "events.parquet"

# Columns that may be absent, with what stands for them then.
OPTIONAL: Mapping[str, Mapping[str, str]] = {
    "services.csv": {"max_domains_per_window": "", "one_domain_at_a_time": "false"},
}
_BLANK_OK = ("max_down_hosts", "max_domains_per_window")
_NUMBERS = ("value", "max_down_share", *_BLANK_OK)


def read_fleet(folder: Path, *, has_past: bool = True) -> Fleet:
    """Read and check a fleet folder; `SCHEMA` and `OPTIONAL` list its files and columns.

    Each table may be Parquet or CSV, whatever its name in `SCHEMA` ends with.

    Args:
        folder: Where the tables are.
        has_past: Whether the folder must hold the past events; without them they are empty.

    Raises:
        DatasetMissingError: A file is not there.
        DatasetUnreadableError: A file cannot be parsed.
        FleetTableError: A table breaks the schema, or is there in both formats; the message
            names file, row and remedy.
        EmptyBacklogError: There is nothing to plan.
        CyclicPrecedenceError: Types wait for each other in a circle.
    """
    files = {name: table_file(folder, name) for name in SCHEMA if has_past or name != PAST}
    if not has_past and any(file.exists() for file in _formats(folder, PAST)):
        files[PAST] = table_file(folder, PAST)
    tables = {name: _read(file) for name, file in files.items()}
    tables.setdefault(PAST, pd.DataFrame(columns=list(SCHEMA[PAST])))
    try:
        return fleet_from_tables(tables)
    except (FleetTableError, EmptyBacklogError) as error:
        # Checks know tables by their names in SCHEMA; people know the files that they have.
        said = str(error)
        for name, file in files.items():
            said = said.replace(name, file.name)
        raise type(error)(said) from None


def table_file(folder: Path, name: str) -> Path:
    """Return the file of a table of `SCHEMA`, Parquet or CSV.

    Raises:
        DatasetMissingError: There is neither.
        FleetTableError: There are both.
    """
    found = [file for file in _formats(folder, name) if file.is_file()]
    if len(found) > 1:
        raise FleetTableError(
            f"{folder} has both {found[0].name} and {found[1].name}; remove one of them"
        )
    if not found:
        asked = " or ".join(file.name for file in _formats(folder, name))
        there = sorted(file.name for file in folder.iterdir()) if folder.is_dir() else None
        held = "the folder does not exist" if there is None else ", ".join(there[:12]) or "nothing"
        raise DatasetMissingError(
            f"the fleet folder has no {asked} (looked in {folder}, found: {held}); a fleet "
            f"consists of {', '.join(SCHEMA)}, each as Parquet or CSV"
        )
    return found[0]


def _formats(folder: Path, name: str) -> tuple[Path, Path]:
    stem = Path(name).stem
    return folder / f"{stem}.parquet", folder / f"{stem}.csv"


def fleet_from_tables(tables: Mapping[str, pd.DataFrame]) -> Fleet:
    """Build a checked fleet from tables by file name; raises as `read_fleet` does."""
    typed = {name: _typed(name, tables[name]) for name in SCHEMA}
    fleet = Fleet(
        hosts=typed["hosts.parquet"],
        services=typed["services.csv"],
        domains=typed["domains.csv"],
        freezes=tuple(
            Freeze(*row) for row in typed["freezes.csv"].itertuples(index=False, name=None)
        ),
        types=typed["types.csv"],
        backlog=typed["backlog.parquet"],
        events=typed["events.parquet"],
    )
    check_fleet(fleet)
    return fleet


def _read(file: Path) -> pd.DataFrame:
    try:
        if file.suffix == ".parquet":
            return pd.read_parquet(file)
        # As text first: pandas would turn a domain "007" into 7 and "NA" into nothing.
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DatasetUnreadableError(
            f"{file} cannot be read ({error}); write it again as {file.suffix[1:]}"
        ) from None
    if Path(PAST).stem == file.stem:
        # What still runs has no end; a blank is no date.
        table = table.replace("", np.nan)
    return table


def _typed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    missing = [column for column in SCHEMA[name] if column not in table.columns]
    if missing:
        raise FleetTableError(
            f"{name} lacks the columns {', '.join(missing)}; it has {', '.join(table.columns)}; "
            f"the schema asks for {', '.join(SCHEMA[name])}"
        )
    if name == PAST:
        return _on_one_clock(name, table)
    typed = {}
    absent = {
        column: value
        for column, value in OPTIONAL.get(name, {}).items()
        if column not in table.columns
    }
    table = table.assign(**absent)
    for column in (*SCHEMA[name], *OPTIONAL.get(name, ())):
        values = table[column].reset_index(drop=True)
        if column in _WHOLE:
            typed[column] = _whole(name, column, values)
        elif column in _NUMBERS:
            typed[column] = _number(name, column, values, is_blank_ok=column in _BLANK_OK)
        elif column in ("is_stateful", "needs_reboot", "one_domain_at_a_time"):
            typed[column] = _flag(name, column, values)
        else:
            typed[column] = _text(name, column, values)
    return pd.DataFrame(typed)


def _on_one_clock(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Past events with naive times, as the history reader takes them."""
    try:
        events = one_clock(table, ("started", "ended"), None, None, name)
    except DataError as error:
        raise FleetTimeError(str(error)) from None
    for column in ("started", "ended"):
        times = pd.to_datetime(events[column], errors="coerce")
        is_bad = times.isna() & events[column].notna()
        if is_bad.any():
            row = _first(is_bad)
            raise FleetTimeError(
                f"{name} row {row}: '{column}' is {events[column][row]!r}, no date; correct it"
            )
        events[column] = times
    return events


def _text(name: str, column: str, values: pd.Series) -> pd.Series:
    is_blank = values.isna() | (values.astype(str).str.strip() == "")
    if column in ("after", "release", "rack", "firmware"):
        return values.where(~is_blank, "").astype(str).astype(object)
    if is_blank.any():
        raise FleetTableError(f"{name} row {_first(is_blank)}: '{column}' is blank; fill it in")
    return values.astype(str).astype(object)


def _number(name: str, column: str, values: pd.Series, is_blank_ok: bool = False) -> pd.Series:
    if pd.api.types.is_bool_dtype(values):
        raise FleetTableError(f"{name}: '{column}' holds true and false; give numbers")
    is_blank = values.isna() | (values.astype(str).str.strip() == "")
    numbers = pd.to_numeric(values.where(~is_blank, np.nan), errors="coerce").astype(float)
    is_bad = numbers.isin([np.nan, np.inf, -np.inf]) & ~(is_blank & is_blank_ok)
    if is_bad.any():
        row = _first(is_bad)
        raise FleetTableError(
            f"{name} row {row}: '{column}' must be a finite number, got {values[row]!r}; correct it"
        )
    return numbers


def _whole(name: str, column: str, values: pd.Series) -> pd.Series:
    kind = FleetTimeError if column in _TIMES else FleetTableError
    if pd.api.types.is_integer_dtype(values):
        return values.astype("int64")
    unit = "whole seconds of the local clock" if column.endswith("_s") else "a whole number"
    if pd.api.types.is_datetime64_any_dtype(values):
        raise kind(
            f"{name}: '{column}' holds {values.dtype}, with or without a time zone; "
            f"convert it to {unit} since 1970 (int64)"
        )
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    is_bad = numbers.isin([np.nan, np.inf, -np.inf]) | (numbers % 1 != 0)
    if is_bad.any():
        row = _first(is_bad)
        raise kind(f"{name} row {row}: '{column}' must be {unit}, got {values[row]!r}; correct it")
    # Text goes to integers directly: beyond 2**53 a float would lose seconds.
    is_number = pd.api.types.is_float_dtype(values)
    return numbers.astype("int64") if is_number else pd.to_numeric(values).astype("int64")


def _flag(name: str, column: str, values: pd.Series) -> pd.Series:
    # A blank in a column that may be absent is what its absence is.
    default = OPTIONAL.get(name, {}).get(column)
    if default is not None:
        is_blank = values.isna() | (values.astype(str).str.strip() == "")
        values = values.where(~is_blank, default)
    flags = values.astype(str).str.strip().str.lower().map(_FLAGS)
    if flags.isna().any():
        row = _first(flags.isna())
        raise FleetTableError(
            f"{name} row {row}: '{column}' must be true or false, got {values[row]!r}; correct it"
        )
    return flags.astype(bool)


def _first(mask: pd.Series) -> int:
    return int(np.flatnonzero(mask.to_numpy(bool))[0])

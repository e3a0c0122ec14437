"""Flow runs as one table, from a server or from a file of the same columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import read_table
from models.errors import (
    ContractError,
    DatasetMissingError,
    DatasetUnreadableError,
    NotEnoughDataError,
)
from models.upgrades.history.base import EventTimeError, refuse_rows
from models.upgrades.history.clock import one_clock

COLUMNS = (
    *("flow", "deployment", "work_pool", "parameters", "state", "expected_s", "start_s"),
    *("end_s", "duration_s", "wait_s", "retries"),
)
KINDS = (".csv", ".parquet", ".jsonl")
REQUIRED = ("flow", "started", "ended", "state")
# What Prefect's own interface calls these columns, and the table that a tracked run keeps.
ALIASES = {
    "flow_name": "flow",
    "deployment_name": "deployment",
    "work_pool_name": "work_pool",
    "start_time": "started",
    "end_time": "ended",
    "expected_start_time": "expected",
    "state_type": "state",
    "state_name": "state",
    "total_run_time": "duration_s",
    "start_s": "started",
    "end_s": "ended",
    "expected_s": "expected",
}
FINISHED = ("completed", "cached")
# Seen for some time, but not to a proper end.
BROKEN = ("failed", "crashed", "cancelled", "timedout")
RUNNING = ("running", "retrying")
# Had not begun, or waits without working: nothing to learn a duration from.
IDLE = (
    *("scheduled", "late", "pending", "paused", "suspended", "awaitingretry", "resuming"),
    *("awaitingconcurrencyslot", "cancelling", "rolledback"),
)


@dataclass(frozen=True)
class RunTable:
    """Flow runs that have begun.

    Attributes:
        frame: One row per run: flow, deployment ("" for none), work_pool, parameters (a
            digest), state ("completed", "failed", "crashed", "cancelled" or "running"),
            expected_s, start_s, end_s (float seconds since 1970, UTC; end_s of a running
            one is NaN), duration_s (time it worked, seconds), wait_s (from when it was
            due to its start, seconds; NaN if unknown), retries.
        as_of_s: When this was known, seconds since 1970.
        source: Where it comes from, in words.
        left_out: Rows that had not begun.
        digest: SHA-256 of the table.
    """

    frame: pd.DataFrame
    as_of_s: int
    source: str
    left_out: int
    digest: str

    def __len__(self) -> int:
        return len(self.frame)


def digest_parameters(value: Any) -> str:
    """Return twelve letters that stand for the parameters of a run; text stays as it is."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "unknown"
    if isinstance(value, str):
        return value
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def run_table(
    rows: Sequence[Mapping[str, Any]] | pd.DataFrame, source: str, as_of_s: int | None = None
) -> RunTable:
    """Check runs and bring them to one form.

    Args:
        rows: Runs with flow, started, ended (empty while it runs), state, and what is known
            of deployment, work_pool, parameters, expected, duration_s, retries.
        source: Where they come from, for messages.
        as_of_s: When this was known; None: the latest time in the table.

    Raises:
        ContractError: A column is missing, or a state is none of Prefect's.
        EventTimeError: A time is missing or impossible, or a duration is no number.
    """
    raw = pd.DataFrame(rows).reset_index(drop=True)
    if raw.empty:
        empty = pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})
        return RunTable(empty, as_of_s or 0, source, 0, _digest(empty))
    table = _named(raw, source)
    state = table["state"].astype("str").str.lower().str.replace("[ _-]", "", regex=True)
    strange = ~state.isin([*FINISHED, *BROKEN, *RUNNING, *IDLE])
    if strange.any():
        row = int(strange.to_numpy().argmax())
        raise ContractError(
            f"{source}: row {row} has the state {table['state'][row]!r}, which is none of "
            f"Prefect's ({', '.join([*FINISHED, *BROKEN, *RUNNING])}, or not begun); "
            f"{int(strange.sum()):,} such rows: correct them"
        )
    idle = state.isin(IDLE)
    # A run that was cancelled before it began has no start either.
    idle |= table["started"].isna() & state.isin(BROKEN)
    table, state = table[~idle].reset_index(drop=True), state[~idle].reset_index(drop=True)
    if table.empty:
        return run_table([], source, as_of_s)
    frame = _frame(table, state, source)
    latest = np.nanmax(frame[["start_s", "end_s"]].to_numpy(float))
    as_of = int(np.ceil(latest)) if as_of_s is None else as_of_s
    # What still runs has worked until now; a server says so itself.
    worked = (as_of - frame["start_s"]).clip(lower=0.0)
    frame["duration_s"] = frame["duration_s"].where(frame["duration_s"].notna(), worked)
    frame = frame.sort_values([*COLUMNS[6:8], *COLUMNS[:5]], kind="stable", ignore_index=True)
    return RunTable(frame, as_of, source, int(idle.sum()), _digest(frame))


def read_runs_file(path: Path) -> RunTable:
    """Read runs from CSV, Parquet or JSONL (by the ending); the schema is in the docs.

    Raises:
        DatasetMissingError: The file does not exist.
        DatasetUnreadableError: Of another ending or format.
        NotEnoughDataError: It has no rows.
        ContractError: See `run_table`.
        EventTimeError: See `run_table`.
    """
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise DatasetUnreadableError(
            f"{path}: cannot tell the format from the ending '{path.suffix}'; give a file of runs "
            f"that ends in {', '.join(KINDS)}"
        )
    return run_table(_read_lines(path) if kind == ".jsonl" else read_table(path), str(path))


def _read_lines(path: Path) -> pd.DataFrame:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DatasetMissingError(
            f"dataset file {path} does not exist; check the path (--data FILE, or the config "
            "key `data`)"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetUnreadableError(f"{path} is not readable as JSONL: {error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DatasetUnreadableError(
                f"{path}: line {number} is no JSON ({error}); write one object per line"
            ) from None
        if not isinstance(row, dict):
            raise DatasetUnreadableError(
                f"{path}: line {number} holds a {type(row).__name__}; write one object per line"
            )
        rows.append(row)
    if not rows:
        raise NotEnoughDataError(f"{path} has no rows; at least one is needed")
    return pd.DataFrame(rows)


def _named(raw: pd.DataFrame, source: str) -> pd.DataFrame:
    """Our names for the columns; a name of ours wins over one of Prefect's."""
    table = raw.copy()
    for theirs, ours in ALIASES.items():
        if theirs in table.columns and ours not in table.columns:
            table[ours] = table[theirs]
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise ContractError(
            f"{source} lacks {', '.join(missing)} of the columns of a run history "
            f"({', '.join(REQUIRED)}); it has: {', '.join(map(str, raw.columns))}; see "
            "docs/upgrades-operations.md"
        )
    for name in ("deployment", "work_pool", "parameters", "expected", "duration_s", "retries"):
        if name not in table.columns:
            table[name] = None
    return table


def _frame(table: pd.DataFrame, state: pd.Series, source: str) -> pd.DataFrame:
    is_open = state.isin(RUNNING).to_numpy(bool)
    # One column at a time: some exports name the zone of one column only.
    times = {name: _instants(table[name], name, source) for name in ("started", "ended")}
    times["expected"] = _instants(table["expected"], "expected", source)
    start_s, end_s = times["started"], times["ended"]
    end_s = np.where(is_open, np.nan, end_s)
    duration_s = _durations(table["duration_s"], source)
    refuse_rows(
        {
            "has no flow": table["flow"].isna().to_numpy(bool),
            "has no start": np.isnan(start_s),
            "has no end although it does not run": np.isnan(end_s) & ~is_open,
            "ends before it starts": end_s < start_s,
            "has a negative duration": duration_s < 0,
        },
        lambda row: ", ".join(
            f"{name} {table[name][row]}" for name in ("flow", "started", "ended", "state")
        ),
        f"correct them in {source}",
    )
    duration_s = np.where(np.isnan(duration_s), end_s - start_s, duration_s)
    frame = pd.DataFrame(
        {
            "flow": table["flow"].astype("str"),
            "deployment": table["deployment"].astype(object).where(table["deployment"].notna(), ""),
            "work_pool": table["work_pool"].astype(object).where(table["work_pool"].notna(), ""),
            "parameters": table["parameters"].map(digest_parameters),
            "state": np.select(
                [state.isin(FINISHED), is_open, state == "timedout"],
                ["completed", "running", "failed"],
                state,
            ),
            "expected_s": times["expected"],
            "start_s": start_s,
            "end_s": end_s,
            "duration_s": duration_s,
            "wait_s": np.maximum(start_s - times["expected"], 0.0),
            "retries": pd.to_numeric(table["retries"], errors="coerce").fillna(0).clip(lower=0),
        }
    )
    return frame[[*COLUMNS]].astype({"deployment": "str", "work_pool": "str"})


def _instants(values: pd.Series, name: str, source: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Seconds since 1970, UTC; NaN where there is none. Numbers are seconds."""
    if values.isna().all():
        return np.full(len(values), np.nan)
    if pd.api.types.is_numeric_dtype(values):
        return values.to_numpy(float)
    times = one_clock(pd.DataFrame({name: values}), (name,), None, None, source)[name]
    unread = times.map(lambda value: isinstance(value, str)).to_numpy(bool)
    if unread.any():
        row = int(unread.argmax())
        raise EventTimeError(
            f"{source}: row {row}: {name} {times[row]!r} is no time; write it like "
            "2026-05-01T14:30:00Z"
        )
    since = pd.to_datetime(times) - pd.Timestamp(0)
    return np.asarray(since.dt.total_seconds(), dtype=float)


def _durations(values: pd.Series, source: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    if pd.api.types.is_timedelta64_dtype(values):
        return np.asarray(values.dt.total_seconds(), dtype=float)
    numbers = pd.to_numeric(values, errors="coerce")
    unusable = (numbers.isna() & values.notna()) | np.isinf(numbers)
    if unusable.any():
        row = int(unusable.to_numpy().argmax())
        raise EventTimeError(
            f"{source}: row {row}: the duration {values[row]!r} is no number of seconds "
            f"({int(unusable.sum()):,} such rows); correct them, or leave the column out"
        )
    return numbers.to_numpy(float)


def _digest(frame: pd.DataFrame) -> str:
    return hashlib.sha256(frame.to_csv(index=False).encode()).hexdigest()

"""An operator's own upgrade history, in the import schema (dataset `upgrade_events`)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.errors import ContractError, NotEnoughDataError
from models.upgrades.history.base import (
    ABORTED,
    COMPLETED,
    RUNNING,
    UNKNOWN,
    EventTimeError,
    History,
    build_history,
    drop_rows,
    epoch_s,
    overlap_s,
    refuse_rows,
    require_columns,
)
from models.upgrades.history.clock import one_clock
from models.upgrades.history.doubts import refuse_unknown_outcomes
from models.upgrades.history.mapping import (
    Columns,
    HistoryMapping,
    apply_mapping,
    value_counts_words,
)

NAME = "upgrade_events"
REQUIRED = ("host_id", "type", "started", "ended", "outcome")
# What a file may leave out; without domains the whole fleet shares one window.
DEFAULTS = {
    "domain": "all",
    "service": UNKNOWN,
    "release": UNKNOWN,
    "hardware": UNKNOWN,
    "firmware": UNKNOWN,
}
CATEGORIES = ("type", "domain", "service", "hardware", "firmware")
COLUMNS = tuple(name for name in Columns.model_fields if name != "duration")
_UNIT_S = {"s": 1, "min": 60, "h": 3_600}


def import_table(
    frame: pd.DataFrame, mapping: HistoryMapping | None = None, source: str = "table"
) -> pd.DataFrame:
    """Bring an operator's table to the import schema, for the contract to check.

    Args:
        frame: Table as it was read.
        mapping: What its columns and values mean; None: they are ours.
        source: Name of the file, for messages.

    Returns:
        The columns `COLUMNS` and `overlap_s`, rows as in the file. Times have no zone: UTC
        where they had or were given one. `overlap_s`: seconds for which another upgrade of
        the host still ran; missing where the mapping keeps overlaps. Bad cells are left for
        the contract to report.

    Raises:
        ContractError: A required column is missing, no row has a known outcome, or several
            have the same unknown one.
        EventTimeError: See `one_clock`; or a duration is no number.
        ConfigError: See `apply_mapping` and `one_clock`.
    """
    mapping = mapping or HistoryMapping()
    table = apply_mapping(frame.reset_index(drop=True), mapping, source)
    has_duration = mapping.columns.duration is not None
    needed = [name for name in REQUIRED if not (name == "ended" and has_duration)]
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise ContractError(
            f"{source} lacks {', '.join(missing)} of the import schema; it has: "
            f"{', '.join(map(str, frame.columns))}; name its columns in a mapping file "
            "(config key `mapping`), see datasets/upgrades/upgrade_events/README.md"
        )
    times = ("started",) if has_duration else ("started", "ended")
    table = one_clock(table, times, mapping.time_zone, mapping.epoch_unit, source)
    if has_duration:
        table["ended"] = _ends(table, _UNIT_S[mapping.duration_unit], source)
    _require_outcomes(table["outcome"], source)
    refuse_unknown_outcomes(table["outcome"], source)
    for name, value in DEFAULTS.items():
        table[name] = table[name].fillna(value) if name in table.columns else value
    if "batch_id" not in table.columns:
        table["batch_id"] = None
    table = table[[*COLUMNS]]
    table["overlap_s"] = np.nan if mapping.overlaps == "keep" else _overlaps(table)
    return table


def imported_events(table: pd.DataFrame) -> History:
    """Turn checked rows of the import schema into canonical events.

    Dropped and counted: upgrades that still run; durations of less than a second (the
    clock of the log was too coarse); exact duplicates. An upgrade without a batch is in one
    with all that started in its domain at the same instant.

    Args:
        table: What `import_table` returned, after its contract.

    Raises:
        NotEnoughDataError: The table is empty, nothing is left after the drops, or every
            upgrade was aborted, so that no duration is known.
        ContractError: A column is missing, or an outcome is none of the three.
        EventTimeError: A row has no start, ends before it starts, or has no end although
            it does not run (or an end although it does).
    """
    require_columns(table, REQUIRED, "upgrade history", f"upgrades/{NAME}")
    table = table.reset_index(drop=True)
    _check_rows(table)
    running = (table["outcome"] == RUNNING).to_numpy(bool)
    start = epoch_s(table["started"]).to_numpy(np.int64)
    end = epoch_s(table["ended"].where(~running, table["started"])).to_numpy(np.int64)
    # Overlaps say nothing about a row on its own.
    own = [name for name in COLUMNS if name in table.columns]
    keep, dropped = drop_rows(
        {
            "still running": running,
            "duration of less than a second": ~running & (end <= start),
            "exact duplicate": table.duplicated(subset=own).to_numpy(bool),
        },
        "upgrade history",
    )
    censored = (table["outcome"] == ABORTED).to_numpy(bool)[keep]
    if censored.all():
        raise NotEnoughDataError(
            f"all {len(censored)} ended upgrades were aborted, so no duration is known; "
            "give a history with completed upgrades"
        )
    kept = _filled(table[keep].reset_index(drop=True))
    start, end = start[keep], end[keep]
    batch = kept["domain"] + "@" + pd.Series(start).astype("str")
    events = pd.DataFrame(
        {
            **{name: kept[name] for name in ("host_id", "domain", "service", "type")},
            "is_planned": True,
            **{name: kept[name] for name in ("hardware", "firmware")},
            "batch_id": kept["batch_id"].where(kept["batch_id"].notna(), batch).astype("str"),
            "release": kept["release"],
            "start_s": start,
            "end_s": end,
            "duration_s": end - start,
            "outcome": np.where(censored, ABORTED, COMPLETED),
            "is_censored": censored,
        }
    )
    return build_history(events, dropped, NAME, CATEGORIES, (), None, has_releases=True)


def _filled(table: pd.DataFrame) -> pd.DataFrame:
    """Columns as text, with the defaults where there is none."""
    for name in ("host_id", "type", *DEFAULTS):
        values = table[name] if name in table.columns else pd.Series(None, index=table.index)
        default = DEFAULTS.get(name, UNKNOWN)
        table[name] = values.astype(object).where(values.notna(), default).astype("str")
    if "batch_id" not in table.columns:
        table["batch_id"] = None
    return table


def _check_rows(table: pd.DataFrame) -> None:
    outcome = table["outcome"]
    strange = ~outcome.isin([COMPLETED, ABORTED, RUNNING]).to_numpy(bool)
    if strange.any():
        row = int(strange.argmax())
        raise ContractError(
            f"row {row} has the outcome '{outcome[row]}', not completed, aborted or running; "
            f"{int(strange.sum())} such rows: correct them or map them under `outcomes`"
        )
    started, ended = pd.to_datetime(table["started"]), pd.to_datetime(table["ended"])
    running = (outcome == RUNNING).to_numpy(bool)
    open_ = ended.isna().to_numpy(bool)
    refuse_rows(
        {
            "has no host or no type": (table["host_id"].isna() | table["type"].isna()).to_numpy(
                bool
            ),
            "has no start": started.isna().to_numpy(bool),
            "has no end although it does not run": open_ & ~running,
            "has an end although it runs": ~open_ & running,
            "ends before it starts": (ended < started).to_numpy(bool),
        },
        lambda row: ", ".join(
            f"{name} {table[name][row]}" for name in ("host_id", "started", "ended", "outcome")
        ),
    )


def _ends(table: pd.DataFrame, unit_s: int, source: str) -> pd.Series:
    """Start plus elapsed time; missing where either is."""
    given = table["duration"]
    numbers = pd.to_numeric(given, errors="coerce")
    unusable = (numbers.isna() & given.notna()) | numbers.abs().eq(np.inf)
    # A longer one would leave the range of dates.
    unusable |= numbers.abs() * unit_s > 3_600 * 24 * 365 * 100
    if unusable.any():
        row = int(unusable.to_numpy().argmax())
        raise EventTimeError(
            f"{source}: row {row}: the duration {str(given[row])!r} is no usable number "
            f"({int(unusable.sum())} such rows); correct them, or leave them empty where the "
            "upgrade still runs"
        )
    started = pd.to_datetime(table["started"], errors="coerce", format="ISO8601")
    return started + pd.to_timedelta((numbers * unit_s).round(), unit="s")


def _overlaps(table: pd.DataFrame) -> pd.Series:
    """Seconds for which another upgrade of the host still ran; 0 where times are unusable."""
    started = pd.to_datetime(table["started"], errors="coerce", format="ISO8601")
    ended = pd.to_datetime(table["ended"], errors="coerce", format="ISO8601")
    # The second of two equal rows is a duplicate, not an overlap.
    again = table.duplicated(["host_id", "type", "release", "started"])
    usable = (started.notna() & (ended >= started) & table["host_id"].notna() & ~again).to_numpy()
    found = np.zeros(len(table))
    found[usable] = overlap_s(
        table["host_id"].astype("str")[usable],
        epoch_s(started[usable]).to_numpy(np.int64),
        epoch_s(ended[usable]).to_numpy(np.int64),
    )
    return pd.Series(found, index=table.index)


def _require_outcomes(outcome: pd.Series, source: str) -> None:
    """A column that speaks another language is not one bad row after the other."""
    if outcome.isin([COMPLETED, ABORTED, RUNNING]).any():
        return
    raise ContractError(
        f"{source}: no row has the outcome completed, aborted or running; found "
        f"{value_counts_words(outcome)} (row 0 on); say what they mean under `outcomes` in a "
        "mapping file (config key `mapping`)"
    )

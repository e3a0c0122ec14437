"""Canonical upgrade events from the LANL outage table.

Source of the table: Los Alamos National Laboratory, LA-UR-05-7318 failure data 1996-2005;
Schroeder & Gibson (DSN 2006). Every outage is read as one maintenance task of one node.
For planned rows the type is the work order; for failures it is the cause group, which was
written AFTER the repair: hindsight that a real dispatcher would not have.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.history.base import (
    COMPLETED,
    UNKNOWN,
    History,
    build_history,
    drop_rows,
    epoch_s,
    refuse_rows,
    require_columns,
    slug,
)

NAME = "lanl_outages"
# The spellings of the work orders in the file, merged: "DST-Upgrd/Instl OS Sftw" and
# "DST-Upgrd/Instl OS sftw" are one type, and so are the two of third-party software.
PLANNED_TYPES = {
    "Maintenance": "hardware-maintenance",
    "Upgrade/Install OS sftw": "os-upgrade",
    "DST-Upgrd/Instl OS Sftw": "storage-os-upgrade",
    "DST-Upgrd/Install OS sftw": "storage-os-upgrade",
    "Patch Install": "patch",
    "Modify kernel parameters": "kernel-parameters",
    "Modify system config files": "config-files",
    "Upgrade/Install 3rd Party Sftw": "third-party",
    "DST-Upgrd/Instl 3rdParty Sftw": "third-party",
}
HARDWARE = (
    *("machine_type", "nodes", "procsinnode", "mem", "cputype", "memtype"),
    *("num_intercon", "fru_type"),
)
NUMBERS = ("nodes", "procsinnode", "mem", "num_intercon")
CATEGORIES = ("type", "domain", "service", "machine_type", "cputype", "memtype", "fru_type")
REQUIRED = (
    *("system", "nodenumz", "purpose", "cause_group", "cause", "planned_like"),
    *("started", "fixed", "down_minutes", *HARDWARE),
)
WINDOW_S = 28_800
"""Eight hours: 94.5 % of the outages are shorter."""
# Starts and ends are local and naive: across a clock change they differ from the elapsed
# minutes by one hour (13 of 16,617 rows, and 8 more by one minute of rounding).
CLOCK_CHANGE_S = 3_600


def canonical_events(lanl_frame: pd.DataFrame) -> History:
    """Turn the LANL outage table into canonical events.

    Dropped and counted: exact duplicates; durations of zero minutes (left-censored by the
    minute clock of the log); rows whose clock times disagree with `down_minutes` by more
    than the hour of a clock change. Where they disagree by an hour or less, the elapsed
    minutes are the duration and `fixed` is the instant at which it became known.

    Args:
        lanl_frame: Table of the shipped schema, any length and period.

    Raises:
        NotEnoughDataError: The table is empty, or nothing is left after the drops.
        ContractError: A column is missing.
        EventTimeError: A row has no start or end, ends before it starts, or has a
            negative or missing duration.
    """
    require_columns(lanl_frame, REQUIRED, "outage table", "upgrades/lanl_outages")
    frame = lanl_frame.reset_index(drop=True)
    _check_times(frame)
    keep, dropped = drop_rows(_reasons(frame), "outage table")
    return build_history(_events(frame[keep]), dropped, NAME, CATEGORIES, NUMBERS, WINDOW_S)


def _check_times(frame: pd.DataFrame) -> None:
    started, fixed = pd.to_datetime(frame["started"]), pd.to_datetime(frame["fixed"])
    minutes = pd.to_numeric(frame["down_minutes"], errors="coerce").to_numpy(float)
    broken: dict[str, NDArray[np.bool_]] = {
        "has no start or no end": (started.isna() | fixed.isna()).to_numpy(bool),
        "ends before it starts": (fixed < started).to_numpy(bool),
        "has a missing or infinite duration": ~np.isfinite(minutes),
        "has a negative duration": minutes < 0,
    }
    columns = ("started", "fixed", "down_minutes")
    refuse_rows(broken, lambda row: ", ".join(f"{name} {frame[name][row]}" for name in columns))


def _reasons(frame: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    minutes = frame["down_minutes"].to_numpy(float)
    clock_s = (pd.to_datetime(frame["fixed"]) - pd.to_datetime(frame["started"])).dt.total_seconds()
    return {
        "duration of zero minutes": minutes <= 0,
        "exact duplicate": frame.duplicated(subset=[*REQUIRED]).to_numpy(bool),
        "clock disagrees with down_minutes": np.abs(clock_s.to_numpy(float) - minutes * 60)
        > CLOCK_CHANGE_S,
    }


def _events(frame: pd.DataFrame) -> pd.DataFrame:
    start = epoch_s(frame["started"])
    duration = (frame["down_minutes"].astype(float) * 60).round().astype("int64")
    domain = "system-" + frame["system"].astype(int).astype(str)
    node = frame["nodenumz"].map(lambda value: UNKNOWN if pd.isna(value) else f"{int(value)}")
    planned = frame["planned_like"].to_numpy(bool)
    work_order = frame["cause"].map(PLANNED_TYPES).fillna(frame["cause"].map(slug))
    repair = "repair-" + frame["cause_group"].map(slug)
    return pd.DataFrame(
        {
            "host_id": domain + "/" + node,
            "domain": domain,
            "service": frame["purpose"].map(slug),
            "type": work_order.where(planned, repair),
            "is_planned": planned,
            **{column: _hardware(frame[column]) for column in HARDWARE},
            "batch_id": domain + "@" + start.astype(str),
            "release": UNKNOWN,
            "start_s": start,
            # An event whose clock times are off must not count as ended before it was.
            "end_s": np.maximum(epoch_s(frame["fixed"]), start + duration),
            "duration_s": duration,
            "outcome": COMPLETED,
            "is_censored": False,
        }
    )


def _hardware(column: pd.Series) -> pd.Series:
    if column.name in NUMBERS:
        return pd.to_numeric(column, errors="coerce").astype("float64")
    return column.map(slug).astype("str")

"""Canonical upgrade events from the LANL outage table.

Source of the table: Los Alamos National Laboratory, LA-UR-05-7318 failure data 1996-2005;
Schroeder & Gibson (DSN 2006). Every outage is read as one maintenance task of one node.
For planned rows the type is the work order; for failures it is the cause group, which was
written AFTER the repair: hindsight that a real dispatcher would not have.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ContractError, DataError, NotEnoughDataError

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
_NUMERIC_HARDWARE = ("nodes", "procsinnode", "mem", "num_intercon")
REQUIRED = (
    *("system", "nodenumz", "purpose", "cause_group", "cause", "planned_like"),
    *("started", "fixed", "down_minutes", *HARDWARE),
)
# Starts and ends are local and naive: across a clock change they differ from the elapsed
# minutes by one hour (13 of 16,617 rows, and 8 more by one minute of rounding).
CLOCK_CHANGE_S = 3_600


class EventTimeError(DataError):
    """An event ends before it starts or has no usable duration."""


@dataclass(frozen=True)
class History:
    """Upgrade events in order of their start.

    Attributes:
        events: One row per event: event_id, host_id, domain, service, type (str),
            is_planned (bool), hardware columns, batch_id (str), start_s, end_s (int64
            seconds of the local clock since 1970), duration_s (int64, elapsed). `end_s`
            and `duration_s` are known only once the event has ended.
        digest: SHA-256 of the events.
        dropped: Rows left out, by reason.
    """

    events: pd.DataFrame
    digest: str
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.events)

    def seconds(self, column: str) -> NDArray[np.int64]:
        """Return a time column (start_s, end_s or duration_s), shape (n_events,)."""
        return self.events[column].to_numpy(np.int64)

    def labels(self, column: str) -> NDArray[np.object_]:
        """Return a text column as an array of str, shape (n_events,)."""
        return self.events[column].to_numpy(object)


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
    missing = [column for column in REQUIRED if column not in lanl_frame.columns]
    if missing:
        raise ContractError(
            f"the outage table lacks {', '.join(missing)}; it must have the columns of "
            "datasets/upgrades/lanl_outages (see its README.md)"
        )
    if lanl_frame.empty:
        raise NotEnoughDataError("the outage table is empty; give a file with recorded outages")
    frame = lanl_frame.reset_index(drop=True)
    _check_times(frame)
    kept = _keep(frame)
    events = _events(frame[kept.keep])
    return History(events, _digest(events), kept.dropped)


def _check_times(frame: pd.DataFrame) -> None:
    started, fixed = pd.to_datetime(frame["started"]), pd.to_datetime(frame["fixed"])
    minutes = pd.to_numeric(frame["down_minutes"], errors="coerce").to_numpy(float)
    broken: dict[str, NDArray[np.bool_]] = {
        "has no start or no end": (started.isna() | fixed.isna()).to_numpy(bool),
        "ends before it starts": (fixed < started).to_numpy(bool),
        "has a missing or infinite duration": ~np.isfinite(minutes),
        "has a negative duration": minutes < 0,
    }
    for what, mask in broken.items():
        if mask.any():
            row = int(np.flatnonzero(mask)[0])
            raise EventTimeError(
                f"row {row} {what} (started {frame['started'][row]}, fixed {frame['fixed'][row]}, "
                f"down_minutes {frame['down_minutes'][row]}); {int(mask.sum())} such rows: "
                "correct them, or let the dataset contract move them to quarantine"
            )


@dataclass(frozen=True)
class _Kept:
    keep: NDArray[np.bool_]
    dropped: Mapping[str, int]


def _keep(frame: pd.DataFrame) -> _Kept:
    minutes = frame["down_minutes"].to_numpy(float)
    clock_s = (pd.to_datetime(frame["fixed"]) - pd.to_datetime(frame["started"])).dt.total_seconds()
    reasons = {
        "duration of zero minutes": minutes <= 0,
        "exact duplicate": frame.duplicated(subset=[*REQUIRED]).to_numpy(bool),
        "clock disagrees with down_minutes": np.abs(clock_s.to_numpy(float) - minutes * 60)
        > CLOCK_CHANGE_S,
    }
    keep = np.ones(len(frame), dtype=bool)
    dropped = {}
    for reason, mask in reasons.items():
        dropped[reason] = int((keep & mask).sum())
        keep &= ~mask
    if not keep.any():
        raise NotEnoughDataError(
            f"all {len(frame)} rows of the outage table were dropped ({dropped}); "
            "give a file with recorded outages"
        )
    return _Kept(keep, dropped)


def _events(frame: pd.DataFrame) -> pd.DataFrame:
    start = _epoch_s(frame["started"])
    duration = (frame["down_minutes"].astype(float) * 60).round().astype("int64")
    domain = "system-" + frame["system"].astype(int).astype(str)
    node = frame["nodenumz"].map(lambda value: "unknown" if pd.isna(value) else f"{int(value)}")
    planned = frame["planned_like"].to_numpy(bool)
    work_order = frame["cause"].map(PLANNED_TYPES).fillna(frame["cause"].map(_slug))
    repair = "repair-" + frame["cause_group"].map(_slug)
    events = pd.DataFrame(
        {
            "host_id": domain + "/" + node,
            "domain": domain,
            "service": frame["purpose"].map(_slug),
            "type": work_order.where(planned, repair),
            "is_planned": planned,
            **{column: _hardware(frame[column]) for column in HARDWARE},
            "batch_id": domain + "@" + start.astype(str),
            "start_s": start,
            # An event whose clock times are off must not count as ended before it was.
            "end_s": np.maximum(_epoch_s(frame["fixed"]), start + duration),
            "duration_s": duration,
        }
    )
    # The row order of the file must not matter: every column breaks ties.
    order = ["start_s", "domain", "host_id", "type", "end_s", "duration_s"]
    events = events.sort_values([*order, "service", "is_planned"], kind="stable")
    events = events.reset_index(drop=True)
    events.insert(0, "event_id", [f"e{index:07d}" for index in range(len(events))])
    return events


def _hardware(column: pd.Series) -> pd.Series:
    if column.name in _NUMERIC_HARDWARE:
        return pd.to_numeric(column, errors="coerce").astype("float64")
    return column.map(_slug).astype("str")


def _slug(value: object) -> str:
    text = "unknown" if pd.isna(value) else str(value).strip().lower()  # type: ignore[call-overload]
    return "unknown" if text in ("", "nan") else "-".join(text.replace("/", " ").split())


def _epoch_s(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column).astype("datetime64[s]").astype("int64")


def _digest(events: pd.DataFrame) -> str:
    digest = hashlib.sha256()
    for column in events.columns:
        values = events[column]
        text = values.astype(str).str.cat(sep="\x1f")
        digest.update(f"{column}\x1e{text}\x1d".encode())
    return digest.hexdigest()

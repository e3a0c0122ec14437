"""A recorded plan becomes work."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.errors import DataError, DatasetMissingError, DatasetUnreadableError
from models.upgrades.execute.base import NO_WAVE, Work

NEEDED = (
    *("task", "host", "domain", "service", "type", "status"),
    *("lane", "start_s", "reserved_s", "deadline_s"),
)
_NUMBERS = ("lane", "start_s", "reserved_s", "deadline_s", "window_open_s", "wave")
_LAST_S = 2.0**62
MOST_S = 7_258_118_400
"""No plan reaches beyond the year 2200, in seconds since 1970."""
MOST_SPAN_S = 10 * 366 * 86_400
"""No plan, and nothing in one, lasts longer than ten years: its clock would walk for ever."""


class PlanFileError(DataError):
    """A table that is no plan of ours."""


@dataclass(frozen=True)
class PlanFile:
    """A plan as it was recorded.

    Attributes:
        frame: All tasks, placed and refused; columns of `RolloutPlan.frame`.
        works: The placed ones, in order of start.
        first_s: Opening of the first window.
        digest: SHA-256 of all fields of the placed tasks; names the audit log.
    """

    frame: pd.DataFrame
    works: tuple[Work, ...]
    first_s: int
    digest: str

    @property
    def is_of_fleet(self) -> bool:
        """Whether it was made from a fleet folder: only such plans have releases and waves."""
        return "release" in self.frame.columns or "wave" in self.frame.columns


def read_plan(path: Path) -> PlanFile:
    """Read the plan.parquet of a plan-upgrades run.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: It is no Parquet file.
        PlanFileError: Columns are missing, a task has no name or is placed twice, or a time,
            lane or wave is no number that can be carried out; or the plan reaches beyond
            `MOST_S` or lasts longer than `MOST_SPAN_S`.
    """
    if not path.is_file():
        raise DatasetMissingError(
            f"plan {path} does not exist; give the plan.parquet of a plan-upgrades run"
        )
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise DatasetUnreadableError(
            f"plan {path} is not readable as Parquet: {str(error).splitlines()[0]}; export it again"
        ) from None
    return plan_of(frame, str(path))


def plan_of(frame: pd.DataFrame, source: str = "plan") -> PlanFile:
    """Turn the table of a plan into work; raises as `read_plan` does."""
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise PlanFileError(
            f"{source} lacks {', '.join(missing)}; give the plan.parquet of a plan-upgrades run, "
            f"found: {', '.join(map(str, frame.columns))}"
        )
    placed = _with_numbers(frame[frame["status"] == "assigned"])
    _refuse_bad_rows(placed, frame, source)
    works = tuple(sorted((_work(row) for row in placed.to_dict("records")), key=by_start))
    opens = placed["window_open_s"] if "window_open_s" in placed else placed["start_s"]
    return PlanFile(
        frame,
        works,
        first_s=int(opens.min()) if len(placed) else 0,
        # Every field: what is installed where decides what a log entry means.
        digest=hashlib.sha256(repr(works).encode()).hexdigest(),
    )


def _with_numbers(placed: pd.DataFrame) -> pd.DataFrame:
    """Replace what is no number by NaN in the columns that must hold numbers."""
    names = [name for name in _NUMBERS if name in placed]
    # Dates and flags would become numbers that mean something else.
    kinds = {name: placed[name].dtype.kind for name in names}
    return placed.assign(
        **{
            name: math.nan if kinds[name] in "Mmb" else pd.to_numeric(placed[name], errors="coerce")
            for name in names
        }
    )


def _refuse_bad_rows(placed: pd.DataFrame, frame: pd.DataFrame, source: str) -> None:
    times = placed[["start_s", "reserved_s", "deadline_s"]].astype(float)
    opens = placed["window_open_s"] if "window_open_s" in placed else placed["start_s"]
    lanes = placed["lane"].astype(float)
    broken = {
        **{f"has no {name}": _is_blank(placed[name]) for name in NEEDED[:5]},
        "is placed twice": placed["task"].astype(str).duplicated(keep="first"),
        "has no time in numbers": times.isna().any(axis=1),
        "has a time beyond all clocks (the year 2200)": ~(times.abs() < MOST_S).all(axis=1),
        "reserves no time": ~(times["reserved_s"] > 0),
        "starts at or after its latest safe instant": ~(times["start_s"] < times["deadline_s"]),
        "has no opening of its window": ~(opens.astype(float).abs() < MOST_S),
        "ends more than ten years after the plan begins": (
            times["deadline_s"] - min(times["start_s"].min(), opens.astype(float).min())
            > MOST_SPAN_S
        ),
        "reserves more than ten years": times["reserved_s"] > MOST_SPAN_S,
        "has a lane that is no whole number from 0": ~((lanes >= 0) & (lanes % 1 == 0)),
    }
    if "wave" in placed:
        # Asked of the table as it came: a blank wave is none, text is a fault.
        is_blank = frame.loc[frame["status"] == "assigned", "wave"].isna()
        waves = placed["wave"].astype(float)
        broken["has a wave that is no whole number"] = ~(
            is_blank | ((waves % 1 == 0) & (waves.abs() < _LAST_S))
        )
    for what, mask in broken.items():
        if mask.any():
            row = int(mask.to_numpy().argmax())
            raise PlanFileError(
                f"{source}: task {placed['task'].iloc[row]} (row {placed.index[row]}) {what}; "
                f"{int(mask.sum())} such tasks: plan again and carry out that plan"
            )


def _is_blank(names: pd.Series) -> pd.Series:
    return names.isna() | (names.astype(str).str.strip() == "")


def _work(row: dict[Hashable, Any]) -> Work:
    # Plans of a history have no releases and no waves.
    release, wave = row.get("release"), row.get("wave")
    return Work(
        task=str(row["task"]),
        host=str(row["host"]),
        domain=str(row["domain"]),
        service=str(row["service"]),
        type=str(row["type"]),
        release="" if pd.isna(release) else str(release),
        lane=int(row["lane"]),
        wave=NO_WAVE if pd.isna(wave) else int(wave),
        start_s=int(row["start_s"]),
        # Rounded up: a start needs at least what was reserved.
        reserved_s=math.ceil(row["reserved_s"]),
        deadline_s=int(row["deadline_s"]),
    )


def by_start(work: Work) -> tuple[int, str, int, str]:
    """Order in which work is started."""
    return (work.start_s, work.domain, work.lane, work.task)

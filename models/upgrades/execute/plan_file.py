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


class PlanFileError(DataError):
    """A table that is no plan of ours."""


@dataclass(frozen=True)
class PlanFile:
    """A plan as it was recorded.

    Attributes:
        frame: All tasks, placed and refused; columns of `RolloutPlan.frame`.
        works: The placed ones, in order of start.
        first_s: Opening of the first window.
        digest: SHA-256 of the placed tasks; names the audit log.
    """

    frame: pd.DataFrame
    works: tuple[Work, ...]
    first_s: int
    digest: str


def read_plan(path: Path) -> PlanFile:
    """Read the plan.parquet of a plan-upgrades run.

    Raises:
        DatasetMissingError: There is no such file.
        DatasetUnreadableError: It is no Parquet file.
        PlanFileError: Columns are missing, a task is placed twice, or its times disagree.
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
    placed = frame[frame["status"] == "assigned"]
    _refuse_bad_rows(placed, source)
    works = tuple(sorted((_work(row) for row in placed.to_dict("records")), key=_by_start))
    said = repr([(w.task, w.host, w.lane, w.start_s, w.reserved_s, w.deadline_s) for w in works])
    opens = placed["window_open_s"] if "window_open_s" in placed else placed["start_s"]
    return PlanFile(
        frame,
        works,
        first_s=int(opens.min()) if len(placed) else 0,
        digest=hashlib.sha256(said.encode()).hexdigest(),
    )


def _refuse_bad_rows(placed: pd.DataFrame, source: str) -> None:
    times = placed[["start_s", "reserved_s", "deadline_s"]].astype(float)
    broken = {
        "is placed twice": placed["task"].duplicated(keep="first"),
        "has no time": times.isna().any(axis=1),
        "reserves no time": ~(times["reserved_s"] > 0),
        "starts at or after its latest safe instant": ~(times["start_s"] < times["deadline_s"]),
    }
    for what, mask in broken.items():
        if mask.any():
            row = int(mask.to_numpy().argmax())
            raise PlanFileError(
                f"{source}: task {placed['task'].iloc[row]} (row {placed.index[row]}) {what}; "
                f"{int(mask.sum())} such tasks: plan again and carry out that plan"
            )


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


def _by_start(work: Work) -> tuple[int, str, int, str]:
    return (work.start_s, work.domain, work.lane, work.task)

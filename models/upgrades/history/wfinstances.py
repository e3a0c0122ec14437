"""Workflow tasks of WfInstances: typed durations without start times.

There is no time to split by, so these serve duration prediction only: train on all runs
but one, predict the tasks of that one. The data is LGPL-3.0 and is not shipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import NotEnoughDataError
from models.upgrades.history.base import digest_of, drop_rows, refuse_rows, require_columns

NAME = "wfinstances_tasks"
CATEGORIES = ("type", "machine")
NUMBERS = ("core_count", "input_bytes", "n_inputs", "n_parents", "n_children")
"""Known before the start. CPU share, bytes read and written and memory are measured while a
task runs: as features they would give its duration away."""
REQUIRED = ("file", "task_type", "machine", "runtime_s", *NUMBERS)


@dataclass(frozen=True)
class Fold:
    """One run left out: rows to train on and rows of that run, both rising."""

    run_id: str
    train: NDArray[np.int64]
    test: NDArray[np.int64]


@dataclass(frozen=True)
class TaskRuns:
    """Tasks of many workflow runs, each with its runtime.

    Attributes:
        tasks: run_id, type, machine (str), the columns of `numbers` (float64, NaN where it
            was not recorded), runtime_s (float64, positive). Ordered by run, else as in the
            file.
        digest: SHA-256 of the tasks.
        dropped: Rows left out, by reason.
        categories: Categorical feature columns.
        numbers: Numeric feature columns.
    """

    tasks: pd.DataFrame
    digest: str
    dropped: Mapping[str, int]
    source: str = NAME
    categories: tuple[str, ...] = CATEGORIES
    numbers: tuple[str, ...] = NUMBERS

    def __len__(self) -> int:
        return len(self.tasks)

    def folds(self) -> Iterator[Fold]:
        """Leave one run out after the other, in order of their names.

        Raises:
            NotEnoughDataError: There is only one run, so nothing to train on.
        """
        codes, runs = pd.factorize(self.tasks["run_id"])
        if len(runs) < 2:
            raise NotEnoughDataError(
                f"leaving one run out needs at least 2 runs, got {len(runs)} "
                f"('{runs[0]}'); give a file with more runs"
            )
        for code, run in enumerate(runs):
            yield Fold(str(run), np.flatnonzero(codes != code), np.flatnonzero(codes == code))


def task_runs(frame: pd.DataFrame) -> TaskRuns:
    """Turn the table of executed workflow tasks into task runs.

    Dropped and counted: runtimes of zero. Equal rows stay: a workflow runs many equal
    tasks, and the file has no task name to tell them apart.

    Args:
        frame: Table of the documented schema; runtime_s in seconds, input_bytes in bytes.

    Raises:
        NotEnoughDataError: The table is empty, or nothing is left after the drops.
        ContractError: A column is missing.
        EventTimeError: A runtime is missing, infinite or negative.
    """
    require_columns(frame, REQUIRED, "table of tasks", f"upgrades/{NAME}")
    frame = frame.reset_index(drop=True)
    runtime_s = pd.to_numeric(frame["runtime_s"], errors="coerce").to_numpy(float)
    refuse_rows(
        {
            "has a missing or infinite runtime": ~np.isfinite(runtime_s),
            "has a negative runtime": runtime_s < 0,
        },
        lambda row: f"{frame['task_type'][row]}, runtime_s {frame['runtime_s'][row]}",
    )
    keep, dropped = drop_rows({"runtime of zero seconds": runtime_s <= 0}, "table of tasks")
    kept = frame[keep]
    tasks = pd.DataFrame(
        {
            "run_id": kept["file"].astype("str"),
            "type": kept["task_type"].astype("str"),
            "machine": kept["machine"].astype("str"),
            **{
                name: pd.to_numeric(kept[name], errors="coerce").astype("float64")
                for name in NUMBERS
            },
            "runtime_s": runtime_s[keep],
        }
    )
    tasks = tasks.sort_values("run_id", kind="stable").reset_index(drop=True)
    return TaskRuns(tasks, digest_of(tasks, NAME), dropped)

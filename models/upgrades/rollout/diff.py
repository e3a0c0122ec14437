"""What changed between two plans."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from models.upgrades.plan import RolloutPlan

_PLACE = ["window_open_s", "domain", "lane", "start_s"]


@dataclass(frozen=True)
class PlanDiff:
    """Tasks by what became of their place.

    Attributes:
        moved: In both plans, at another window, lane or start: task, host and the place
            before and now (`start_s_before`, `start_s`, ...).
        added: Placed now and not before: task, host and place.
        removed: Placed before and not now: task, host and the former place.
        same: Number of tasks whose place did not change.
    """

    moved: pd.DataFrame
    added: pd.DataFrame
    removed: pd.DataFrame
    same: int

    def __str__(self) -> str:
        return (
            f"{len(self.moved)} moved, {len(self.added)} added, {len(self.removed)} removed, "
            f"{self.same} as before"
        )


def plan_diff(previous: RolloutPlan, now: RolloutPlan) -> PlanDiff:
    """Compare the places of two plans, task by task."""
    columns = ["task", "host", *_PLACE]
    both = now.assignments[columns].merge(
        previous.assignments[columns],
        on="task",
        how="outer",
        suffixes=("", "_before"),
        indicator="side",
    )
    is_both = both["side"] == "both"
    is_moved = is_both & pd.concat(
        [both[column] != both[f"{column}_before"] for column in _PLACE], axis=1
    ).any(axis=1)
    before = {f"{column}_before": column for column in ("host", *_PLACE)}
    places = ["task", "host", *[name for column in _PLACE for name in (f"{column}_before", column)]]
    removed = both[both["side"] == "right_only"][["task", *before]].rename(columns=before)
    return PlanDiff(
        moved=both[is_moved][places].reset_index(drop=True),
        added=both[both["side"] == "left_only"][columns].reset_index(drop=True),
        removed=removed.reset_index(drop=True),
        same=int((is_both & ~is_moved).sum()),
    )

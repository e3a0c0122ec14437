"""Work left to do, day by day."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from models.upgrades.cells import Cell
from models.upgrades.config import DAY_S
from models.upgrades.history import History
from models.upgrades.policy import Policy
from models.upgrades.splits import Split


def burn_down_table(
    cells: Sequence[Cell], policies: Sequence[Policy], history: History, split: Split
) -> pd.DataFrame:
    """Count the tasks of the test part that are not done at the end of each day.

    A task that nobody completes (refused, given up) stays in the count for ever.

    Args:
        cells: Simulated policies, which hold those asked for or not.
        policies: Whose work is counted.
        history: Canonical events.
        split: Parts; its test part was simulated.

    Returns:
        One row per day from the first of the test part to the last completion: day_s (its
        midnight, seconds of the local clock), not_requested (tasks still to arrive: the
        least that anybody can have left), and one column per policy label.
    """
    arrival_s = history.seconds("start_s")[split.test]
    asked = {policy.label: policy for policy in policies}
    by_policy = {cell.policy: cell.attempts for cell in cells}
    done_s = {
        label: by_policy[policy].query("is_completed")["end_s"].to_numpy(np.int64)
        for label, policy in asked.items()
        if policy in by_policy
    }
    last_s = max(int(times.max()) for times in (arrival_s, *done_s.values()) if len(times))
    days = np.arange(int(arrival_s.min()) // DAY_S, last_s // DAY_S + 1, dtype=np.int64)

    def left(times_s: np.ndarray[tuple[int], np.dtype[np.int64]]) -> object:
        return len(arrival_s) - np.searchsorted(np.sort(times_s), (days + 1) * DAY_S)

    columns = {label: left(times) for label, times in done_s.items()}
    return pd.DataFrame({"day_s": days * DAY_S, "not_requested": left(arrival_s), **columns})

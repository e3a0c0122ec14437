"""Split the history by time into fit, calibrate, select and test parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import NotEnoughDataError
from models.upgrades.config import UpgradeConfig
from models.upgrades.history import History

Rows = NDArray[np.int64]

# Fewest events for which the parts below carry any meaning: at least 50 calibration
# scores are needed for a finite margin at the top level of the default grid (0.98).
MIN_FIT, MIN_CALIBRATE, MIN_SELECT, MIN_TEST = 200, 50, 20, 50
# With the default shares, some rows left out because they had not ended.
ENOUGH = 1_000


@dataclass(frozen=True)
class Split:
    """Row indices into `History.events`, each rising, and the instants between the parts.

    A row belongs to the part in which it started. Fit and calibrate rows have also ended
    before the next part begins. Select and test rows are replayed, so they hold no aborted
    event.
    """

    fit: Rows
    calibrate: Rows
    select: Rows
    test: Rows
    calibrate_from_s: int
    select_from_s: int
    test_from_s: int


def split_by_time(history: History, config: UpgradeConfig) -> Split:
    """Cut the history at three instants so that no batch is split.

    A batch (one domain, one start instant) shares its start, and a cut compares starts
    only, so a batch lies on one side. Fit and calibrate rows that had not ended at the
    next cut are left out: their duration was not yet known.

    Raises:
        NotEnoughDataError: A part holds fewer events than it needs.
    """
    start_s, end_s = history.seconds("start_s"), history.seconds("end_s")
    shares = np.cumsum([config.fit_share, config.calibrate_share, config.select_share])
    # Rounded first: 0.55 * 100 is 55.00000000000001.
    places = [min(int(round(share * len(start_s), 6)), len(start_s) - 1) for share in shares]
    first, second, third = (int(start_s[place]) for place in places)
    rows = np.arange(len(start_s), dtype=np.int64)
    # What was aborted has no known duration: it can be learnt from, not replayed.
    is_whole = ~history.is_censored
    split = Split(
        fit=rows[(start_s < first) & (end_s < first)],
        calibrate=rows[(start_s >= first) & (start_s < second) & (end_s < second)],
        # Selection replays durations: those not known when the test part begins stay out.
        select=rows[is_whole & (start_s >= second) & (start_s < third) & (end_s < third)],
        test=rows[is_whole & (start_s >= third)],
        calibrate_from_s=first,
        select_from_s=second,
        test_from_s=third,
    )
    _check_sizes(split, history)
    return split


def _check_sizes(split: Split, history: History) -> None:
    n_events, start_s = len(history), history.seconds("start_s")
    sizes = {
        "fit": (len(split.fit), MIN_FIT),
        "calibrate": (len(split.calibrate), MIN_CALIBRATE),
        "select": (len(split.select), MIN_SELECT),
        "test": (len(split.test), MIN_TEST),
    }
    short = [f"{part} has {n} of {least}" for part, (n, least) in sizes.items() if n < least]
    if short:
        days = (int(start_s.max()) - int(start_s.min())) / 86_400 if n_events else 0.0
        raise NotEnoughDataError(
            f"{n_events} events over {days:,.0f} days, {int(history.is_censored.sum())} of them "
            f"aborted, are too few to split: {', '.join(short)} events needed, each ended before "
            f"the next part begins; collect a longer history ({ENOUGH:,} events that end within "
            "days are enough) or change fit_share, calibrate_share, select_share"
        )

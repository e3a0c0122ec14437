"""Canonical events from the Grid'5000 availability trace (Failure Trace Archive).

Every interval in which a node was unavailable is read as one maintenance task of it. The
reason was not recorded, so the cluster stands for the type: the history of a type is the
history of its cluster. The data is not shipped; see datasets/upgrades for its card.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.upgrades.history.base import (
    COMPLETED,
    UNKNOWN,
    History,
    build_history,
    drop_rows,
    overlap_s,
    refuse_rows,
    require_columns,
)

NAME = "grid5000_node_unavailability"
REQUIRED = ("node", "cluster", "site", "start", "duration_s")
CATEGORIES = ("type", "domain", "service")
WINDOW_S = 14_400
"""Four hours: 87 % of the intervals are shorter."""


def grid5000_events(frame: pd.DataFrame) -> History:
    """Turn the table of unavailability intervals into canonical events.

    Dropped and counted: zero durations; repeated (node, start); intervals that begin while
    the node is still down from an earlier one (it cannot go down twice).

    Args:
        frame: Columns node, cluster, site (text), start (Unix seconds), duration_s (s).

    Raises:
        NotEnoughDataError: The table is empty, or nothing is left after the drops.
        ContractError: A column is missing.
        EventTimeError: A start or duration is missing, infinite or negative.
    """
    require_columns(frame, REQUIRED, "table of intervals", f"upgrades/{NAME}")
    frame = frame.reset_index(drop=True)
    starts = pd.to_numeric(frame["start"], errors="coerce").to_numpy(float)
    durations = pd.to_numeric(frame["duration_s"], errors="coerce").to_numpy(float)
    refuse_rows(
        {
            "has no usable start": ~np.isfinite(starts) | (starts < 0),
            "has a missing or infinite duration": ~np.isfinite(durations),
            "has a negative duration": durations < 0,
        },
        lambda row: f"start {frame['start'][row]}, duration_s {frame['duration_s'][row]}",
    )
    start_s, duration_s = starts.astype(np.int64), np.round(durations).astype(np.int64)
    node = frame["node"].astype("str")
    repeated = pd.DataFrame({"node": node, "start_s": start_s}).duplicated().to_numpy(bool)
    keep, dropped = drop_rows(
        {"duration of zero seconds": duration_s <= 0, "repeated node and start": repeated},
        "table of intervals",
    )
    overlap = np.zeros(len(frame), dtype=np.int64)
    overlap[keep] = overlap_s(node[keep], start_s[keep], (start_s + duration_s)[keep])
    dropped["node still down from an earlier interval"] = int((overlap > 0).sum())
    keep &= overlap == 0
    cluster = frame["cluster"].astype("str")[keep]
    start_s, duration_s = start_s[keep], duration_s[keep]
    events = pd.DataFrame(
        {
            "host_id": node[keep],
            "domain": cluster,
            "service": frame["site"].astype("str")[keep],
            "type": cluster,
            "is_planned": False,
            "batch_id": cluster + "@" + pd.Series(start_s, index=cluster.index).astype("str"),
            "release": UNKNOWN,
            "start_s": start_s,
            "end_s": start_s + duration_s,
            "duration_s": duration_s,
            "outcome": COMPLETED,
            "is_censored": False,
        }
    )
    return build_history(events, dropped, NAME, CATEGORIES, (), WINDOW_S)

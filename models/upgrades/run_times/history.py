"""Flow runs as a history of this room: a type is a deployment, what broke is a lower bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.history.base import ABORTED, COMPLETED, UNKNOWN, History, build_history
from models.upgrades.run_times.table import RunTable

NAME = "flow_runs"
CATEGORIES = ("type", "domain", "service")
# An end that never comes: no statistic of the past may count what is only asked about.
FAR_S = 1 << 33


class NextRun(NamedTuple):
    """A run to come."""

    type: str
    work_pool: str
    parameters: str
    """Digest of its parameters."""
    start_s: int
    """When it should start, seconds since 1970."""


def type_of(flow: str, deployment: str) -> str:
    """Return the name by which runs are told apart: `flow/deployment`, as Prefect names it."""
    return f"{flow}/{deployment}" if deployment else flow


def run_history(table: RunTable) -> History:
    """Turn flow runs into canonical events.

    A run that failed, crashed or was cancelled, or that still runs, was aborted: it would
    have taken at least as long. Of a crashed or running one it is not known whether its
    process lived all that time (a machine that goes down tells nobody), so its lower bound
    is no more than the longest finished run of its type; without one it is left out.
    Durations are whole seconds, at least one. The release is the digest of the parameters.

    Args:
        table: At least one run.
    """
    frame = table.frame
    types = pd.Series(
        [type_of(f, d) for f, d in zip(frame["flow"], frame["deployment"], strict=True)]
    )
    is_done = (frame["state"] == "completed").to_numpy(bool)
    duration_s = np.maximum(np.ceil(frame["duration_s"].to_numpy(float)), 1.0)
    longest = pd.Series(duration_s[is_done]).groupby(types[is_done].to_numpy()).max()
    bound_s = types.map(longest).to_numpy(float)
    is_doubtful = frame["state"].isin(["crashed", "running"]).to_numpy(bool)
    keep = ~is_doubtful | np.isfinite(bound_s)
    duration_s = np.where(is_doubtful, np.fmin(duration_s, bound_s), duration_s)
    start_s = np.floor(frame["start_s"].to_numpy(float))
    end_s = np.where(frame["state"] == "running", float(table.as_of_s), frame["end_s"])
    events = pd.DataFrame(
        {
            "host_id": types,
            "domain": frame["work_pool"].where(frame["work_pool"] != "", UNKNOWN),
            "service": frame["flow"],
            "type": types,
            "is_planned": True,
            "batch_id": [f"{t}@{s:.0f}" for t, s in zip(types, start_s, strict=True)],
            "release": frame["parameters"],
            "start_s": start_s.astype(np.int64),
            "end_s": np.maximum(np.ceil(end_s), start_s + 1).astype(np.int64),
            "duration_s": duration_s,
            "outcome": np.where(is_done, COMPLETED, ABORTED),
            "is_censored": ~is_done,
        }
    )[keep]
    events["duration_s"] = events["duration_s"].astype(np.int64)
    dropped = {"no finished run to bound it by": int((~keep).sum())}
    return build_history(events, dropped, NAME, CATEGORIES, (), None, has_releases=True)


def next_features(history: History, wanted: Sequence[NextRun]) -> FeatureTable:
    """Describe runs that have not begun by what is known of the past.

    Args:
        history: Runs of the past.
        wanted: Runs that are asked about, none before the last start of the history.

    Returns:
        One row per run, in order, with the codes of the history's own features.
    """
    types = [run.type for run in wanted]
    asked = pd.DataFrame(
        {
            "event_id": [f"n{number:07d}" for number in range(len(wanted))],
            "host_id": types,
            "domain": [run.work_pool or UNKNOWN for run in wanted],
            "service": [name.partition("/")[0] for name in types],
            "type": types,
            "is_planned": True,
            "batch_id": [f"{run.type}@{run.start_s}" for run in wanted],
            "release": [run.parameters for run in wanted],
            "start_s": [run.start_s for run in wanted],
            "end_s": [run.start_s + FAR_S for run in wanted],
            "duration_s": 1,
            "outcome": ABORTED,
            "is_censored": True,
        }
    )[list(history.events.columns)]
    both = pd.concat([history.events, asked], ignore_index=True)
    features = asof_features(replace(history, events=both))
    return features.take(np.arange(len(history), len(both), dtype=np.int64))

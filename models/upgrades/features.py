"""As-of features: what was known about a task at the instant of its decision.

History statistics of a row use only events that had ENDED at its decision time. Starts of
other tasks are public the moment they happen, so the concurrency count uses starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.config import DAY_S
from models.upgrades.history import History
from models.upgrades.splits import Rows

Floats = NDArray[np.float64]
Seconds = NDArray[np.int64]

RECENT_STARTS_S = 300
EWMA_ALPHA = 0.2
P90_EVENTS = 50
# Whose history a task looks at; "domain-type" is the work order's record on this machine.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "host": ("host_id",),
    "type": ("type",),
    "domain": ("domain",),
    "domain-type": ("domain", "type"),
}
# Learns a new release from its first waves. By schema, not by content: the columns of past
# rows must not depend on whether a second release comes later in the file.
RELEASE_GROUPS: Mapping[str, tuple[str, ...]] = {"type-release": ("type", "release")}


@dataclass(frozen=True)
class FeatureTable:
    """Features of some tasks, with the instant at which each was decided.

    Attributes:
        matrix: float32, shape (n_tasks, n_features); NaN where nothing was known.
        names: Column names, shape (n_features,).
        categories: Labels by code for each categorical column, in order of appearance, so
            that codes of the past never depend on the future.
        decision_s: Decision times, int64 seconds of the local clock, shape (n_tasks,).
    """

    matrix: NDArray[np.float32]
    names: tuple[str, ...]
    categories: Mapping[str, tuple[str, ...]]
    decision_s: Seconds

    def __len__(self) -> int:
        return len(self.matrix)

    def take(self, rows: Rows) -> FeatureTable:
        """Return the tasks at `rows`, in that order."""
        return replace(self, matrix=self.matrix[rows], decision_s=self.decision_s[rows])

    def codes(self, name: str) -> NDArray[np.int64]:
        """Return the codes of a categorical column, shape (n_tasks,)."""
        return self.matrix[:, self.names.index(name)].astype(np.int64)


def asof_features(history: History, decision_s: Seconds | None = None) -> FeatureTable:
    """Build the features of every event from what was known at its decision.

    Args:
        history: Canonical events.
        decision_s: One decision time per event, shape (n_events,); None means its start.
            A rollout plan decides all its tasks at once, before they start. Hour, weekday
            and concurrency stay those of the requested start: work orders carry them.

    Source: feature list of the reference run, docs of the upgrades system, section 3.
    """
    events = history.events
    start_s = history.seconds("start_s")
    at_s = start_s if decision_s is None else np.asarray(decision_s, dtype=np.int64)
    categories, columns = _categorical(events, history.categories)
    for name in history.numbers:
        columns[name] = events[name].to_numpy(float)
    columns["hour"] = (start_s % DAY_S) / 3_600.0
    columns["weekday"] = ((start_s // DAY_S + 3) % 7).astype(float)  # 1970-01-01: a Thursday
    columns["recent-starts"] = _recent_starts(events["domain"], start_s)
    groups = {**GROUPS, **(RELEASE_GROUPS if history.has_releases else {})}
    for group, keys in groups.items():
        columns |= {
            f"{group}-{name}": values for name, values in _history_of(history, keys, at_s).items()
        }
    matrix = np.column_stack(list(columns.values())).astype(np.float32)
    return FeatureTable(matrix, tuple(columns), categories, at_s)


def _categorical(
    events: pd.DataFrame, names: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], dict[str, Floats]]:
    categories, columns = {}, {}
    for name in names:
        codes, labels = pd.factorize(events[name].to_numpy(object))
        categories[name] = tuple(str(label) for label in labels)
        columns[name] = codes.astype(float)
    return categories, columns


def _recent_starts(domain: pd.Series, start_s: Seconds) -> Floats:
    """Count the tasks of the domain that started in the five minutes up to each start.

    Tasks of the same batch count: a work order names its hosts.
    """
    codes = pd.factorize(domain.to_numpy(object))[0].astype(np.int64)
    origin_s = int(start_s.min()) - RECENT_STARTS_S
    until = _keyed(codes, start_s, origin_s)
    since = _keyed(codes, start_s - RECENT_STARTS_S, origin_s)
    ordered = np.sort(until)
    counts = np.searchsorted(ordered, until, "right") - np.searchsorted(ordered, since, "left")
    return counts.astype(float)


def _history_of(history: History, keys: tuple[str, ...], at_s: Seconds) -> dict[str, Floats]:
    """Statistics of the group's ended events at each decision; NaN where there are none.

    Log seconds throughout: durations are heavy-tailed.
    """
    events = history.events
    codes = np.asarray(events.groupby(list(keys), sort=False).ngroup(), dtype=np.int64)
    start_s, end_s = history.seconds("start_s"), history.seconds("end_s")
    log_s = np.log(history.seconds("duration_s").astype(float))
    # Ties of the end broken by start: equal inputs in another order give equal statistics.
    order = np.lexsort((log_s, start_s, end_s, codes))
    ended = pd.DataFrame({"group": codes[order], "log_s": log_s[order], "end_s": end_s[order]})
    groups = ended.groupby("group", sort=False)
    known = {
        "ewma": groups["log_s"].ewm(alpha=EWMA_ALPHA).mean().to_numpy(),
        "last": ended["log_s"].to_numpy(),
        "p90": groups["log_s"].rolling(P90_EVENTS, min_periods=1).quantile(0.9).to_numpy(),
        "count": np.log1p(groups.cumcount().to_numpy() + 1.0),
    }
    origin = int(min(start_s.min(), at_s.min()))
    key = _keyed(codes[order], end_s[order], origin)
    place = np.searchsorted(key, _keyed(codes, at_s, origin), "right") - 1
    first = np.searchsorted(key, _keyed(codes, np.full_like(at_s, origin), origin), "left")
    has_past = place >= first
    place = np.maximum(place, 0)
    ends = ended["end_s"].to_numpy(float)
    found = {name: np.where(has_past, values[place], np.nan) for name, values in known.items()}
    found["count"] = np.where(has_past, found["count"], 0.0)
    found["idle"] = np.where(has_past, np.log1p(np.maximum(at_s - ends[place], 0.0)), np.nan)
    first = np.minimum(first, len(ends) - 1)
    found["age"] = np.where(has_past, np.log1p(np.maximum(at_s - ends[first], 0.0)), np.nan)
    return found


def _keyed(codes: NDArray[np.int64], time_s: Seconds, origin_s: int) -> NDArray[np.int64]:
    """One sortable integer of (group, time).

    Times are kept within 2**40 s of the origin, 35,000 years: an end that never comes must
    not reach into the next group.
    """
    return (codes << 40) + np.clip(time_s - origin_s, 0, (1 << 40) - 1)

"""Tables at the edges between the steps of a plan, as their contracts want them.

The contracts stand in datasets/upgrades/{features,forecasts,rollout_plan}/contract.yaml.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from models.upgrades.features import FeatureTable
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import History
from models.upgrades.plan import RolloutPlan
from models.upgrades.splits import Rows

# Interpolation between levels may undercut the level before it in the last bits.
ROUNDING = 1e-9


def features_edge(history: History, features: FeatureTable) -> pd.DataFrame:
    """What was known of each event: keys, times, labels, and how much of the rest.

    Columns: event_id, host_id, type, domain, service, decision_s, start_s, known_share
    (of the features, finite), unlabelled (categorical columns without a valid code).
    """
    events = history.events
    unlabelled = np.zeros(len(features), dtype=np.int64)
    for name, labels in features.categories.items():
        column = features.matrix[:, features.names.index(name)]
        unlabelled += ~((column >= 0) & (column < len(labels)))
    frame = events[["event_id", "host_id", "type", "domain", "service", "start_s"]].copy()
    frame["decision_s"] = features.decision_s
    frame["known_share"] = np.isfinite(features.matrix).mean(axis=1)
    frame["unlabelled"] = unlabelled
    return frame.reset_index(drop=True)


def forecasts_edge(
    model: DurationModel,
    history: History,
    features: FeatureTable,
    rows: Rows,
    levels: tuple[float, ...],
) -> pd.DataFrame:
    """Forecasts of some tasks: extremes, order and median.

    Columns: task, type, least_s and greatest_s (over the levels), least_step (smallest rise
    from one level to the next, relative; below 0 where they cross), p50_s, p50_of_type (p50_s
    divided by the median duration of what had ended of the type before the first of them).
    """
    quantiles_s = model.quantiles(features.take(rows), levels)
    median_s = model.quantile(features.take(rows), 0.5)
    events = history.events
    types = events["type"].iloc[rows].to_numpy(object)
    past = events[events["end_s"] <= int(features.decision_s[rows].min())]
    typical = past.groupby("type")["duration_s"].median()
    of_type_s = pd.Series(types).map(typical).fillna(past["duration_s"].median()).to_numpy(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        step = (np.diff(quantiles_s, axis=1) / quantiles_s[:, :-1]).min(axis=1)
        ratio = median_s / of_type_s
    return pd.DataFrame(
        {
            "task": events["event_id"].iloc[rows].to_numpy(object),
            "type": types,
            "least_s": quantiles_s.min(axis=1),
            "greatest_s": quantiles_s.max(axis=1),
            "least_step": np.where(np.abs(step) < ROUNDING, 0.0, step),
            "p50_s": median_s,
            "p50_of_type": ratio,
        }
    )


def rollout_edge(plan: RolloutPlan) -> pd.DataFrame:
    """All tasks of a plan, placed and refused; missing columns of either side are empty.

    On top of `RolloutPlan.frame`: is_explained (a refused task has a reason) and late_s
    (reserved end minus latest safe instant; above 0 it does not fit).
    """
    frame = plan.frame.copy()
    is_refused = (frame["status"] == "refused").to_numpy(bool)
    reason = frame["reason"] if "reason" in frame else pd.Series("", index=frame.index)
    has_reason = reason.fillna("").astype(str).str.strip().ne("").to_numpy(bool)
    frame["is_explained"] = has_reason | ~is_refused
    frame["late_s"] = (frame["end_s"] - frame["deadline_s"]).astype(float).where(~is_refused)
    for name in ("task", "host", "domain", "service", "type", "status"):
        frame[name] = frame[name].astype("str")
    # A quarantine has columns of these names.
    return frame.rename(columns={"reason": "refusal", "row": "backlog_row"})

"""The backlog of a fleet as a forecaster sees it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import FeatureTable, asof_features
from models.upgrades.fleet.base import Fleet
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import UNKNOWN, History
from models.upgrades.policy import Policy
from models.upgrades.rollout.forecast import LONGEST_WINDOW_S, TaskForecast

# An end that never comes before any decision; nothing is learnt from such a row.
NEVER_S = np.iinfo(np.int64).max // 4


def backlog_features(history: History, fleet: Fleet, plan_s: int) -> FeatureTable:
    """Describe the tasks of the backlog by what was known when the plan is made.

    The tasks join the history as events that begin now and have no end: as-of features use
    ended events only, so nothing of them is read but host, type and release. Host facts
    come from the fleet's own table; a column that only the history has is unknown.

    Args:
        history: Past events; those of hosts that the fleet no longer has count too.
        fleet: Checked tables.
        plan_s: When the plan is made, seconds of the local clock.

    Returns:
        One row per task, in the order of `fleet.tasks`.
    """
    tasks = fleet.tasks
    facts = fleet.hosts.set_index("host_id").loc[tasks["host"]].reset_index(drop=True)
    known = {**facts, **tasks.reset_index(drop=True)}
    past = history.events[history.seconds("start_s") < plan_s]
    now = pd.DataFrame(
        {
            "event_id": known["task"].astype(str),
            "host_id": known["host"].astype(str),
            "is_planned": True,
            "batch_id": "backlog",
            "release": known["release"].astype(str),
            "start_s": np.int64(plan_s),
            "end_s": np.int64(NEVER_S),
            "duration_s": np.int64(1),
            "outcome": "completed",
            "is_censored": False,
        }
    )
    for name in history.categories:
        now[name] = known[name].astype(str) if name in known else UNKNOWN
    for name in history.numbers:
        now[name] = known[name].astype(float) if name in known else np.nan
    # Events first: codes of categories must be those that the forecaster was fitted with.
    joined = pd.concat([past, now[[*past.columns]]], ignore_index=True)
    features = asof_features(replace(history, events=joined, digest=""))
    return features.take(np.arange(len(past), len(joined)))


def fleet_with_past(fleet: Fleet, history: History) -> Fleet:
    """Return the fleet with the past that it is planned from, where it has none of its own.

    Waves and gates count who has a release and who failed by the events of the fleet.
    """
    if len(fleet.events):
        return fleet
    past = history.events
    columns = {"host_id": past["host_id"], "type": past["type"], "release": past["release"]}
    times = {
        name: pd.to_datetime(past[column], unit="s")
        for name, column in (("started", "start_s"), ("ended", "end_s"))
    }
    events = pd.DataFrame({**columns, **times, "outcome": past["outcome"]})
    return replace(fleet, events=events.reset_index(drop=True))


def forecast_backlog(
    model: DurationModel,
    policy: Policy,
    history: History,
    fleet: Fleet,
    plan_s: int,
    config: UpgradeConfig,
) -> TaskForecast:
    """Forecast every task of the backlog for the longest window; what is longer, for a day.

    Args:
        model: The policy's fitted forecaster.
        policy: Whose reservations the plan uses.
        history: Past events.
        fleet: Checked tables.
        plan_s: When the plan is made, seconds of the local clock.
        config: Costs.
    """
    window_s = int(fleet.domains["window_s"].max())
    X = backlog_features(history, fleet, plan_s)
    forecast = in_time(model, X, window_s)
    reserved_s = policy.reserved_s(forecast, config.model_copy(update={"window_s": window_s}))
    quantiles_s = model.quantiles(X, (0.5, 0.9))
    longer_s = reserved_s.copy()
    too_long = np.flatnonzero(~np.isfinite(reserved_s))
    if len(too_long):
        whole_day = in_time(model, X.take(too_long), LONGEST_WINDOW_S)
        # A rule of thumb is capped at the window: without one, beyond a day is never.
        asked_s = policy.reserved_s(whole_day, config.model_copy(update={"window_s": NEVER_S}))
        longer_s[too_long] = np.where(asked_s <= LONGEST_WINDOW_S, asked_s, np.inf)
    return TaskForecast(forecast, reserved_s, quantiles_s[:, 0], quantiles_s[:, 1], longer_s)

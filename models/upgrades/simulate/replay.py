"""A policy on a period of a history."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.capacity import caps_by_service
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import InTime
from models.upgrades.forecast.base import Floats
from models.upgrades.history import History
from models.upgrades.policy import ORACLE, Policy
from models.upgrades.simulate.base import Retry, SimulatedTasks, SimulationResult
from models.upgrades.simulate.engine import run_windows
from models.upgrades.splits import Rows


def simulate_policy(
    policy: Policy,
    forecast: InTime | None,
    history: History,
    rows: Rows,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
    caps: Mapping[tuple[str, str], int] | None = None,
) -> SimulationResult:
    """Run the tasks at `rows` through the daily windows of their domains.

    Args:
        policy: What to reserve and who dispatches.
        forecast: The forecast of these rows by the policy's model (`costs.in_time`); None
            for the oracle, which knows every duration and takes the shortest task first.
        history: Events; their true durations decide what happens, not what is chosen.
        rows: The tasks, by row of the history, in order of arrival.
        lanes: Lanes per domain, one where absent; from the past only.
        config: Window, rollback, tries and costs.
        caps: Hosts down at a time per (domain, service), one where absent; None: from what
            was on record at the first arrival (`caps_by_service`).

    Raises:
        ConfigError: A policy other than the oracle came without a forecast, or a cap or a
            number of lanes is below one.
    """
    events = history.events.iloc[rows]
    duration_s = events["duration_s"].to_numpy(float)
    arrival_s = events["start_s"].to_numpy(np.int64)
    usable = _without_rollback(config)
    retry: Retry | None = None
    if policy.forecaster == ORACLE:
        reserved_s, order = duration_s, np.argsort(duration_s, kind="stable")
    elif forecast is None:
        raise ConfigError(f"policy {policy.label} needs the forecast of its model, got none")
    else:
        reserved_s, order = policy.reserved_s(forecast, usable), np.arange(len(rows))
        if policy.is_informed:
            retry = _informed_retry(policy, forecast, usable)
    if caps is None and len(rows):
        caps = caps_by_service(history, int(arrival_s.min()), config)
    tasks = SimulatedTasks(
        rows=np.asarray(rows, dtype=np.int64)[order],
        domain=events["domain"].to_numpy(object)[order],
        host=pd.factorize(events["host_id"].to_numpy(object))[0].astype(np.int64)[order],
        arrival_s=arrival_s[order],
        duration_s=duration_s[order],
        reserved_s=reserved_s[order],
        service=events["service"].to_numpy(object)[order],
    )
    return run_windows(tasks, policy.dispatch, lanes, config, retry, caps)


def _without_rollback(config: UpgradeConfig) -> UpgradeConfig:
    """A window as reservations see it: what a task can use before rollbacks begin."""
    return config.model_copy(update={"window_s": config.window_s - config.rollback_s})


def _informed_retry(policy: Policy, forecast: InTime, usable: UpgradeConfig) -> Retry:
    def least_time_s(places: NDArray[np.int64], elapsed_s: Floats) -> Floats:
        tasks = InTime(forecast.left_s, forecast.probability[places])
        return policy.reserved_s(tasks.given_not_done_after(elapsed_s), usable)

    return least_time_s

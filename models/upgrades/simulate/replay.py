"""A policy on a period of a history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.capacity import caps_by_service
from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import InTime, expected_lane_s
from models.upgrades.forecast.base import Floats
from models.upgrades.history import History
from models.upgrades.policy import ORACLE, SHORTEST, Policy
from models.upgrades.simulate.base import Retry, SimulatedTasks, SimulationResult
from models.upgrades.simulate.engine import Caps, run_windows
from models.upgrades.splits import Rows


@dataclass(frozen=True)
class Period:
    """The tasks of a period as every policy meets them: read once, simulated often.

    Attributes:
        rows: The tasks, by row of the history, in order of arrival, shape (n_tasks,).
        domain: Domain of each, shape (n_tasks,).
        service: Service of each, same shape.
        host: Code of the host of each, same shape.
        arrival_s: When each is known, seconds of the local clock, same shape.
        duration_s: True durations; they decide what happens, not what is chosen.
        caps: Hosts down at a time per (domain, service), one where absent.
    """

    rows: Rows
    domain: NDArray[np.object_]
    service: NDArray[np.object_]
    host: NDArray[np.int64]
    arrival_s: NDArray[np.int64]
    duration_s: Floats
    caps: Caps


def period_of(
    history: History, rows: Rows, config: UpgradeConfig, caps: Caps | None = None
) -> Period:
    """Read the tasks at `rows`, in order of arrival.

    Args:
        history: Canonical events.
        rows: The tasks, by row of the history, in order of arrival.
        config: Share of a service that may be down.
        caps: Hosts down at a time per (domain, service); None: from what was on record at
            the first arrival (`caps_by_service`).
    """
    events = history.events.iloc[rows]
    arrival_s = events["start_s"].to_numpy(np.int64)
    if caps is None:
        caps = caps_by_service(history, int(arrival_s.min()), config) if len(rows) else {}
    return Period(
        rows=np.asarray(rows, dtype=np.int64),
        domain=events["domain"].to_numpy(object),
        service=events["service"].to_numpy(object),
        host=pd.factorize(events["host_id"].to_numpy(object))[0].astype(np.int64),
        arrival_s=arrival_s,
        duration_s=events["duration_s"].to_numpy(float),
        caps=caps,
    )


def simulate_policy(
    policy: Policy,
    forecast: InTime | None,
    history: History,
    rows: Rows,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
    caps: Caps | None = None,
) -> SimulationResult:
    """Run the tasks at `rows` through the daily windows of their domains.

    See `run_policy`; `rows` and `caps` are those of `period_of`.
    """
    return run_policy(policy, forecast, period_of(history, rows, config, caps), lanes, config)


def run_policy(
    policy: Policy,
    forecast: InTime | None,
    period: Period,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
) -> SimulationResult:
    """Run the tasks of a period through the daily windows of their domains.

    Args:
        policy: What to reserve, who dispatches and in which order.
        forecast: The forecast of these tasks by the policy's model (`costs.in_time`); None
            for the oracle, which knows every duration and takes the shortest task first.
        period: The tasks.
        lanes: Lanes per domain, one where absent; from the past only.
        config: Window, rollback, tries and costs.

    Raises:
        ConfigError: A policy other than the oracle came without a forecast, or a cap or a
            number of lanes is below one.
    """
    usable = _without_rollback(config)
    retry: Retry | None = None
    if policy.forecaster == ORACLE:
        reserved_s, order = period.duration_s, np.argsort(period.duration_s, kind="stable")
    elif forecast is None:
        raise ConfigError(f"policy {policy.label} needs the forecast of its model, got none")
    else:
        reserved_s, order = policy.reserved_s(forecast, usable), np.arange(len(period.rows))
        if policy.dispatch == SHORTEST:
            order = np.argsort(expected_lane_s(forecast), kind="stable")
        if policy.is_informed:
            retry = _informed_retry(policy, forecast, usable, order)
    tasks = SimulatedTasks(
        rows=period.rows[order],
        domain=period.domain[order],
        host=period.host[order],
        arrival_s=period.arrival_s[order],
        duration_s=period.duration_s[order],
        reserved_s=reserved_s[order],
        service=period.service[order],
    )
    return run_windows(tasks, policy.engine, lanes, config, retry, period.caps)


def _without_rollback(config: UpgradeConfig) -> UpgradeConfig:
    """A window as reservations see it: what a task can use before rollbacks begin."""
    return config.model_copy(update={"window_s": config.window_s - config.rollback_s})


def _informed_retry(
    policy: Policy, forecast: InTime, usable: UpgradeConfig, order: NDArray[np.intp]
) -> Retry:
    """Judge aborted tasks, given by their places in the line, which `order` made."""

    def least_time_s(places: NDArray[np.int64], elapsed_s: Floats) -> Floats:
        tasks = InTime(forecast.left_s, forecast.probability[order[places]])
        return policy.reserved_s(tasks.given_not_done_after(elapsed_s), usable)

    return least_time_s

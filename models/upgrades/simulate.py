"""Replay a period of tasks through daily windows under a policy.

Assumptions, stated wherever results are shown: a task needs the same time whenever it
runs; a rollback at the close is instant; all tasks are worth the same. Decisions use the
forecast made when the task arrived, which is older than the decision: never newer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.errors import ConfigError
from models.upgrades.capacity import window_opens
from models.upgrades.config import CostModel, UpgradeConfig
from models.upgrades.costs import InTime
from models.upgrades.forecast.base import Floats
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics, policy_metrics
from models.upgrades.policy import ORACLE, Policy
from models.upgrades.schedule.dispatch import DISPATCHERS, Dispatcher, Queue, Window
from models.upgrades.splits import Rows

COMPLETED, REFUSED, GIVEN_UP, WAITING = "completed", "refused", "given up", "waiting"


@dataclass(frozen=True)
class SimulationResult:
    """What happened to every task.

    Attributes:
        attempts: One row per start: row (of the history), attempt (from 1), domain,
            window_open_s, lane, start_s, end_s, is_completed.
        outcomes: Outcome of each task (completed, refused, given up, waiting), by row.
        capacity_s: Lane time of all open windows, seconds.
        metrics: Counts and prices; definitions in `models.upgrades.metrics`.
    """

    attempts: pd.DataFrame
    outcomes: pd.Series
    capacity_s: float
    metrics: PolicyMetrics


@dataclass(frozen=True)
class SimulatedTasks:
    """Tasks of a period; arrays of shape (n_tasks,), first in line first.

    Attributes:
        rows: Row of each task in the history.
        domain: Domain of each task.
        host: Code of the host.
        arrival_s: When the task is known, seconds of the local clock.
        duration_s: True duration; it decides what happens, never what is chosen.
        reserved_s: Time that must be left to start the task; above a window: refused.
    """

    rows: Rows
    domain: NDArray[np.object_]
    host: NDArray[np.int64]
    arrival_s: NDArray[np.int64]
    duration_s: Floats
    reserved_s: Floats


# Time that must be left for the task at a place after it was aborted with so much elapsed
# (both in seconds): Retry(place, elapsed_s).
Retry = Callable[[int, float], float]


def simulate_policy(
    policy: Policy,
    forecast: InTime | None,
    history: History,
    rows: Rows,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
) -> SimulationResult:
    """Run the tasks at `rows` through the daily windows of their domains.

    Args:
        policy: What to reserve and who dispatches.
        forecast: The forecast of these rows by the policy's model (`costs.in_time`); None
            for the oracle, which knows every duration and takes the shortest task first.
        history: Events; their true durations decide what happens, not what is chosen.
        rows: The tasks, by row of the history, in order of arrival.
        lanes: Lanes per domain, one where absent; from the past only.
        config: Window, tries and costs.

    Raises:
        ConfigError: A policy other than the oracle came without a forecast.
    """
    events = history.events.iloc[rows]
    duration_s = events["duration_s"].to_numpy(float)
    retry: Retry | None = None
    if policy.forecaster == ORACLE:
        reserved_s, order = duration_s, np.argsort(duration_s, kind="stable")
    elif forecast is None:
        raise ConfigError(f"policy {policy.label} needs the forecast of its model, got none")
    else:
        reserved_s, order = policy.reserved_s(forecast, config), np.arange(len(rows))
        if policy.is_informed:
            retry = _informed_retry(policy, forecast, config)
    tasks = SimulatedTasks(
        rows=np.asarray(rows, dtype=np.int64)[order],
        domain=events["domain"].to_numpy(object)[order],
        host=pd.factorize(events["host_id"].to_numpy(object))[0].astype(np.int64)[order],
        arrival_s=events["start_s"].to_numpy(np.int64)[order],
        duration_s=duration_s[order],
        reserved_s=reserved_s[order],
    )
    return run_windows(tasks, DISPATCHERS[policy.dispatch], lanes, config, retry)


def _informed_retry(policy: Policy, forecast: InTime, config: UpgradeConfig) -> Retry:
    def least_time_s(place: int, elapsed_s: float) -> float:
        task = forecast.take(slice(place, place + 1))
        later = task.given_not_done_after(np.array([elapsed_s]))
        return float(policy.reserved_s(later, config)[0])

    return least_time_s


def run_windows(
    tasks: SimulatedTasks,
    dispatcher: Dispatcher,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
    retry: Retry | None = None,
) -> SimulationResult:
    """Replay all domains; the tasks' order is their place in line.

    `retry` says what an aborted task needs next time; None leaves its reservation alone.
    """
    attempts: list[tuple[object, ...]] = []
    outcomes = np.full(len(tasks.rows), WAITING, dtype=object)
    capacity_s = 0.0
    until_s = int(tasks.arrival_s.max()) if len(tasks.rows) else 0
    for domain in sorted(set(tasks.domain)):
        places = np.flatnonzero(tasks.domain == domain)
        opens = window_opens(int(tasks.arrival_s[places].min()), until_s, config)
        n_lanes = lanes.get(domain, 1)
        capacity_s += float(len(opens) * n_lanes * config.window_s)
        windows = [Window(float(o), float(o + config.window_s), n_lanes) for o in opens]
        attempts += _run_domain(tasks, places, windows, dispatcher, config, retry, outcomes)
    frame = pd.DataFrame(
        attempts,
        columns=[
            *("row", "attempt", "domain", "window_open_s"),
            *("lane", "start_s", "end_s", "is_completed"),
        ],
    ).astype({"is_completed": bool})
    by_row = pd.Series(outcomes, index=pd.Index(tasks.rows, name="row")).sort_index()
    return SimulationResult(
        frame, by_row, capacity_s, _measure(frame, by_row, capacity_s, config.costs)
    )


def _run_domain(
    tasks: SimulatedTasks,
    places: NDArray[np.intp],
    windows: Sequence[Window],
    dispatcher: Dispatcher,
    config: UpgradeConfig,
    retry: Retry | None,
    outcomes: NDArray[np.object_],
) -> list[tuple[object, ...]]:
    """Run one domain's windows; write `outcomes` in place and return the starts."""
    reserved_s = tasks.reserved_s.copy()
    tries = np.zeros(len(outcomes), dtype=int)
    # Reported once, here, and never queued: no window will ever be long enough.
    outcomes[places[reserved_s[places] > config.window_s]] = REFUSED
    attempts: list[tuple[object, ...]] = []
    for window in windows:
        is_waiting = (outcomes[places] == WAITING) & (tasks.arrival_s[places] <= window.open_s)
        in_line = places[is_waiting]
        if not len(in_line):
            continue
        queue = Queue(reserved_s[in_line], tasks.duration_s[in_line], tasks.host[in_line])
        for run in dispatcher.run(window, queue):
            task = int(in_line[run.place])
            tries[task] += 1
            attempts.append(
                (
                    *(int(tasks.rows[task]), int(tries[task]), tasks.domain[task], window.open_s),
                    *(run.lane, run.start_s, run.end_s, run.is_completed),
                )
            )
            if run.is_completed:
                outcomes[task] = COMPLETED
                continue
            if retry is not None:
                reserved_s[task] = retry(task, run.end_s - run.start_s)
            if tries[task] == config.max_tries or reserved_s[task] > config.window_s:
                outcomes[task] = GIVEN_UP
    return attempts


def _measure(
    attempts: pd.DataFrame, outcomes: pd.Series, capacity_s: float, costs: CostModel
) -> PolicyMetrics:
    return policy_metrics(
        tasks=len(outcomes),
        busy_s=(attempts["end_s"] - attempts["start_s"]).to_numpy(float),
        is_completed=attempts["is_completed"].to_numpy(bool),
        refused=int((outcomes == REFUSED).sum()),
        given_up=int((outcomes == GIVEN_UP).sum()),
        capacity_s=capacity_s,
        costs=costs,
    )

"""Tasks in, arrays through the compiled dispatchers, starts and outcomes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.capacity import check_at_least_one, window_opens
from models.upgrades.config import UpgradeConfig
from models.upgrades.forecast.base import Floats
from models.upgrades.metrics import policy_metrics
from models.upgrades.policy import Dispatch
from models.upgrades.simulate.base import (
    COMPLETED,
    GIVEN_UP,
    REFUSED,
    WAITING,
    Retry,
    SimulatedTasks,
    SimulationResult,
)
from models.upgrades.simulate.breach import slo_breach

if TYPE_CHECKING:
    from models.upgrades.schedule.dispatch.base import Domain, Starts, State

_OUTCOMES = np.array([WAITING, COMPLETED, REFUSED, GIVEN_UP], dtype=object)
Codes = NDArray[np.int64]
_Columns = dict[str, NDArray[Any]]
Caps = Mapping[tuple[str, str], int]


def run_windows(
    tasks: SimulatedTasks,
    dispatch: Dispatch,
    lanes: Mapping[str, int],
    config: UpgradeConfig,
    retry: Retry | None = None,
    caps: Caps | None = None,
) -> SimulationResult:
    """Replay all domains; the tasks' order is their place in line.

    Args:
        tasks: The tasks of the period.
        dispatch: Who starts them.
        lanes: Lanes per domain, one where absent.
        config: Windows, rollback, tries, costs and whether caps are kept.
        retry: What aborted tasks need next time; None leaves their reservations alone.
        caps: Hosts down at a time per (domain, service), one where absent; None: no
            service has a cap.

    Raises:
        ConfigError: A cap or a number of lanes is below one.
    """
    # Loads numba; compiles at the first call.
    from models.upgrades.simulate.arrays import domain_arrays, room_for

    check_at_least_one("lanes", lanes)
    check_at_least_one("service cap", caps or {})
    outcome = np.zeros(len(tasks.rows), np.int64)
    until_s = int(tasks.arrival_s.max()) if len(tasks.rows) else 0
    code, domains = pd.factorize(tasks.domain, sort=True)
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(domains) + 1))
    real_rollback_s = _real_rollbacks(tasks, config)
    services = _services(tasks, code, domains, caps)
    capacity_s, parts = 0.0, list[_Columns]()
    for domain, low, high in zip(domains, bounds[:-1], bounds[1:], strict=True):
        places = order[low:high]
        opens = window_opens(int(tasks.arrival_s[places].min()), until_s, config)
        n_lanes = lanes.get(domain, 1)
        capacity_s += float(len(opens) * n_lanes * config.window_s)
        group, cap = np.zeros(len(places), np.int64), np.array([n_lanes])
        if config.simulation_caps and services is not None:
            group, present = pd.factorize(services.code[places])
            cap = np.minimum(services.cap[present], n_lanes)
        domain_tasks, state = domain_arrays(
            *(tasks, places, opens, n_lanes, real_rollback_s[places], group, cap, config)
        )
        parts += _run_domain(domain_tasks, state, places, dispatch, retry)
        outcome[places] = state.status
    none = np.array([], np.int64)
    parts = parts or [_columns(room_for(0), 0, none, none)]
    starts = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return _result(tasks, starts, outcome, capacity_s, services, config)


class _Services(NamedTuple):
    """Code of each task's (domain, service), and the cap of each code."""

    code: Codes
    cap: Codes


def _services(
    tasks: SimulatedTasks, domain: Codes, domains: NDArray[np.object_], caps: Caps | None
) -> _Services | None:
    if caps is None:
        return None
    labels = np.full(len(domain), "", object) if tasks.service is None else tasks.service
    label, names = pd.factorize(labels)
    code, present = pd.factorize(domain * max(len(names), 1) + label)
    pairs = [(domains[pair // len(names)], names[pair % len(names)]) for pair in present]
    return _Services(code, np.array([caps.get(pair, 1) for pair in pairs], np.int64))


def _real_rollbacks(tasks: SimulatedTasks, config: UpgradeConfig) -> Floats:
    """How long the rollback of each task takes; by row, so that every policy meets the same."""
    spread = config.rollback_spread
    drawn = np.random.default_rng(config.seed).standard_normal(len(tasks.rows))
    factor = np.empty(len(tasks.rows))
    factor[np.argsort(tasks.rows, kind="stable")] = np.exp(spread * drawn - spread**2 / 2)
    return config.rollback_s * factor


def _run_domain(
    domain: Domain,
    state: State,
    places: NDArray[np.intp],
    dispatch: Dispatch,
    retry: Retry | None,
) -> list[_Columns]:
    """Run one domain's windows and return the starts, tasks by their place among all."""
    from models.upgrades.schedule.dispatch import base, windows
    from models.upgrades.simulate.arrays import room_for

    starts, plan = room_for(len(places)), room_for(len(places))
    how = {"calendar": base.CALENDAR, "backfill": base.BACKFILL, "online": base.ONLINE}[dispatch]
    parts, is_done = [], False
    while not is_done:
        is_done = windows.run_domain(domain, state, starts, plan, how, retry is not None)
        first, end = state.cursor[base.SETTLED], state.cursor[base.STARTED]
        if first < end and retry is not None:
            row = first + np.flatnonzero(~starts.is_completed[first:end])
            elapsed_s = starts.end_s[row] - starts.start_s[row]
            state.reserved_s[starts.task[row]] = retry(places[starts.task[row]], elapsed_s)
            continue
        parts.append(_columns(starts, end, places, domain.open_s))
        state.cursor[base.SETTLED] = state.cursor[base.STARTED] = 0
    return parts


def _columns(
    starts: Starts, end: int, places: NDArray[np.intp], open_s: NDArray[np.generic]
) -> _Columns:
    columns = {name: column[:end].copy() for name, column in starts._asdict().items()}
    place, window = places[columns["task"]], open_s[columns["window"]]
    return {**columns, "place": place, "window_open_s": window}


def _result(
    tasks: SimulatedTasks,
    starts: _Columns,
    outcome: Codes,
    capacity_s: float,
    services: _Services | None,
    config: UpgradeConfig,
) -> SimulationResult:
    place = starts["place"].astype(np.int64)
    attempts = pd.DataFrame(
        {
            "row": tasks.rows[place],
            "attempt": starts["attempt"],
            "domain": tasks.domain[place],
            **{name: starts[name] for name in ("window_open_s", "lane", "start_s", "end_s")},
            "is_completed": starts["is_completed"],
            "free_s": starts["free_s"],
        }
    )
    outcomes = pd.Series(_OUTCOMES[outcome], index=pd.Index(tasks.rows, name="row")).sort_index()
    start_s, end_s, free_s, open_s = (
        starts[name].astype(float) for name in ("start_s", "end_s", "free_s", "window_open_s")
    )
    is_completed, close_s = starts["is_completed"].astype(bool), open_s + config.window_s
    of = (None, None) if services is None else (services.code[place], services.cap)
    metrics = policy_metrics(
        tasks=len(outcomes),
        busy_s=np.minimum(free_s, close_s) - start_s,
        is_completed=is_completed,
        refused=int((outcomes == REFUSED).sum()),
        given_up=int((outcomes == GIVEN_UP).sum()),
        capacity_s=capacity_s,
        costs=config.costs,
        to_done_s=(end_s - tasks.arrival_s[place])[is_completed],
        slo_breach_s=slo_breach(start_s, free_s, close_s, *of).total_s,
    )
    return SimulationResult(attempts, outcomes, capacity_s, metrics)

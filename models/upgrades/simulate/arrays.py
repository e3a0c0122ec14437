"""One domain as the compiled dispatchers want it. Import inside functions: loads numba."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.config import UpgradeConfig
from models.upgrades.forecast.base import Floats
from models.upgrades.schedule.dispatch.base import REFUSED, WAITING, Domain, Holds, Starts, State
from models.upgrades.simulate.base import SimulatedTasks

Codes = NDArray[np.int64]


def domain_arrays(
    tasks: SimulatedTasks,
    places: NDArray[np.intp],
    opens: Codes,
    n_lanes: int,
    real_rollback_s: Floats,
    group: Codes,
    cap: Codes,
    config: UpgradeConfig,
) -> tuple[Domain, State]:
    """Lay out the tasks of one domain, nobody in line yet.

    Args:
        tasks: Tasks of all domains.
        places: Those of this domain, first in line first, shape (n_tasks,).
        opens: Openings of its windows, seconds, rising.
        n_lanes: Its lanes.
        real_rollback_s: How long the rollback of each task takes, shape (n_tasks,).
        group: Service of each task, shape (n_tasks,), every code up to the highest present.
        cap: Hosts of each service that may be down at one time, shape (n_groups,).
        config: Windows, rollback and tries.
    """
    n = len(places)
    host = pd.factorize(tasks.host[places])[0].astype(np.int64)
    members = np.bincount(group, minlength=len(cap))
    size = np.array([1 << int(count - 1).bit_length() for count in members], np.int64)
    first_node = 2 * (np.cumsum(size) - size)
    by_group = np.argsort(group, kind="stable")
    leaf = np.empty(n, np.int64)
    leaf[by_group] = np.arange(n) - np.repeat(np.cumsum(members) - members, members)
    leaf += size[group]
    task_at = np.full(2 * int(size.sum()), -1)
    task_at[first_node[group] + leaf] = np.arange(n)
    arrival_s, reserved_s = tasks.arrival_s[places], tasks.reserved_s[places].astype(float)
    # Reported once, here, and never in line: no window will ever be long enough.
    is_refused = reserved_s + config.rollback_s > config.window_s
    n_hosts = int(host.max()) + 1
    domain = Domain(
        open_s=opens.astype(float),
        window_s=float(config.window_s),
        rollback_s=float(config.rollback_s),
        lanes=n_lanes,
        max_tries=config.max_tries,
        duration_s=tasks.duration_s[places].astype(float),
        real_rollback_s=real_rollback_s,
        arrival_s=arrival_s.astype(float),
        by_arrival=np.argsort(arrival_s, kind="stable"),
        host=host,
        group=group.astype(np.int64),
        leaf=leaf,
        cap=cap.astype(np.int64),
        base=first_node,
        size=size,
        task_at=task_at,
    )
    state = State(
        reserved_s=reserved_s,
        status=np.where(is_refused, REFUSED, WAITING),
        tries=np.zeros(n, np.int64),
        tree=np.full(len(task_at), np.inf),
        real=_nothing_held(n_lanes, n_hosts),
        planned=_nothing_held(n_lanes, n_hosts),
        blocked=np.full(n_hosts, -1),
        next_blocked=np.full(n, -1),
        to_come=np.zeros(n_hosts, np.int64),
        cursor=np.zeros(5, np.int64),
    )
    return domain, state


def _nothing_held(n_lanes: int, n_hosts: int) -> Holds:
    return Holds(np.full(n_lanes, -np.inf), np.full(n_lanes, -1), np.full(n_hosts, -np.inf))


def room_for(n_starts: int) -> Starts:
    """Room for that many starts; any one window needs at most one per task in line."""
    codes, times_s = np.empty((4, n_starts), np.int64), np.empty((3, n_starts))
    return Starts(
        *(codes[0], codes[1], codes[2], codes[3], times_s[0], times_s[1], times_s[2]),
        np.empty(n_starts, bool),
    )

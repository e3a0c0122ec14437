"""How to take a release back: in reverse order, under the same lanes and caps."""

from __future__ import annotations

import heapq
from collections import defaultdict

import pandas as pd

from models.errors import unknown_name
from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import RolloutPlan
from models.upgrades.schedule.precedence import predecessors

BEGUN_COLUMNS = ("task", "host", "domain", "service", "type", "release", "start_s")
ROLLBACK_COLUMNS = ("task", "host", "domain", "service", "type", "lane", "start_s", "end_s")


def rollback_plan(plan: RolloutPlan, fleet: Fleet, release: str, at_s: int) -> pd.DataFrame:
    """Plan the rollback of a release as if everything had begun when it was planned to.

    Args:
        plan: The plan that is being executed.
        fleet: Its fleet.
        release: The release to take back.
        at_s: When the rollback begins, seconds of the local clock.

    Returns:
        `ROLLBACK_COLUMNS` in order of start.

    Raises:
        UnknownNameError: The plan places no task of that release.
    """
    tasks = plan.assignments
    if release not in set(tasks["release"]):
        raise unknown_name("release in the plan", release, set(tasks["release"]))
    return rollback_of(tasks[tasks["start_s"] < at_s], fleet, release, at_s)


def rollback_of(begun: pd.DataFrame, fleet: Fleet, release: str, at_s: int) -> pd.DataFrame:
    """Plan the rollback of everything of a release that has begun.

    Last begun, first undone; what was built on it on the same host is undone before it.
    It does not wait for windows, since a bad release is already out, but it keeps to the
    lanes of domains and the caps of services, so it never takes more hosts down than the
    rollout did. Tasks that had not begun are simply not started.

    Args:
        begun: Tasks of any release that have begun and are not undone: `BEGUN_COLUMNS`.
        fleet: Their fleet.
        release: The release to take back.
        at_s: When the rollback begins, seconds of the local clock.

    Returns:
        `ROLLBACK_COLUMNS` in order of start.
    """
    rollback_s = dict(zip(fleet.types["type"], fleet.types["rollback_s"].tolist(), strict=True))
    first_types = predecessors(fleet.after)
    undone: dict[str, set[str]] = defaultdict(set)
    own = begun[begun["release"] == release]
    for host, type_ in zip(own["host"], own["type"], strict=True):
        undone[host].add(type_)
    lanes = dict(zip(fleet.domains["domain"], fleet.domains["lanes"].tolist(), strict=True))
    lane_free = {name: [(at_s, lane) for lane in range(n)] for name, n in lanes.items()}
    # A cap of n hosts is n places, each free from some moment on.
    cap_free = {service: [at_s] * cap for service, cap in fleet.caps.items()}
    host_free: dict[str, int] = {}
    rows = []
    order = begun.sort_values(["start_s", "task"], ascending=False)
    columns = ["task", "host", "domain", "service", "type", "release"]
    for task, host, domain, service, type_, own_release in order[columns].itertuples(
        index=False, name=None
    ):
        if own_release != release and undone[host].isdisjoint(first_types[type_]):
            continue
        lane_free_s, lane = heapq.heappop(lane_free[domain])
        start_s = max(lane_free_s, heapq.heappop(cap_free[service]), host_free.get(host, at_s))
        end_s = start_s + rollback_s[type_]
        heapq.heappush(lane_free[domain], (end_s, lane))
        heapq.heappush(cap_free[service], end_s)
        host_free[host] = end_s
        rows.append((task, host, domain, service, type_, lane, start_s, end_s))
    table = pd.DataFrame(rows, columns=list(ROLLBACK_COLUMNS))
    return table.sort_values(["start_s", "domain", "lane"], kind="stable", ignore_index=True)

"""Numbers about a plan over time: lanes, work left, hosts of services that are down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.config import DAY_S
from models.upgrades.fleet import Fleet
from models.upgrades.headroom import service_loads
from models.upgrades.plan import RolloutPlan
from models.upgrades.report.plan_figures import records
from models.upgrades.rollout import RolloutConfig
from models.upgrades.rollout.never import never_placed

MOST_BARS = 3_000
MOST_LANES = 160
MOST_DOMAINS = 60
HOUR_S = 3_600
_BARS = ["task", "host", "domain", "service", "type", "release", "wave", "lane"]


def lane_figures(plan: RolloutPlan, fleet: Fleet) -> dict[str, Any]:
    """What each lane does when: one bar per task, or lanes in use by hour where there are many.

    Returns:
        kind "tasks": bars with _BARS, start_s, end_s and deadline_s. kind "hours": per domain
        domain, lanes and in_use, the mean number of lanes in use in each hour of hour_s.
        n_tasks, n_lanes and n_domains of the whole plan, and left_out in words.
    """
    placed, domains = plan.assignments, fleet.domains
    lanes = dict(zip(domains["domain"], domains["lanes"].tolist(), strict=True))
    found = {
        "n_tasks": len(placed),
        "n_domains": int(placed["domain"].nunique()),
        "n_lanes": len(placed[["domain", "lane"]].drop_duplicates()),
    }
    if len(placed) <= MOST_BARS and found["n_lanes"] <= MOST_LANES:
        columns = [*_BARS, "start_s", "end_s", "deadline_s"]
        bars = placed.sort_values(["domain", "lane", "start_s"], kind="stable")[columns]
        return {**found, "kind": "tasks", "bars": records(bars), "left_out": ""}
    busiest = placed["domain"].value_counts(sort=True).index[:MOST_DOMAINS]
    hours, rows = _hours(placed), []
    for domain in sorted(busiest):
        own = placed[placed["domain"] == domain]
        in_use = _time_in(own, hours) / HOUR_S
        rows.append({"domain": domain, "lanes": lanes[domain], "in_use": in_use.round(2).tolist()})
    hidden = found["n_domains"] - len(rows)
    left_out = "Single tasks are left out: they are in plan.parquet. "
    left_out += f"{hidden} domains with the fewest tasks are left out. " if hidden else ""
    return {
        **found,
        "kind": "hours",
        "hour_s": hours.tolist(),
        "domains": rows,
        "left_out": left_out.strip(),
    }


def burn_down_figures(plan: RolloutPlan, fleet: Fleet, config: RolloutConfig) -> dict[str, Any]:
    """Work left at the end of each day, counted at the reserved ends.

    Returns:
        day_s (midnights), tasks_left, hosts_left (hosts with work left), n_tasks, n_hosts,
        per_day (tasks placed per day of the horizon), days_to_full: days from the plan until
        nothing is left that these windows could ever take: those of the plan, and for what
        it does not place as many as that takes at its mean pace; None: nothing is placed.
        n_never: tasks that no later plan could place either, see `never_placed`.
    """
    placed = plan.assignments
    ends_s = np.sort(placed["end_s"].to_numpy(float))
    first_day = plan.plan_s // DAY_S
    last_day = int(max([first_day + config.horizon_days, *(ends_s[-1:] // DAY_S)]))
    days = np.arange(first_day, last_day + 1, dtype=np.int64)
    n_tasks = len(placed) + len(plan.refusals)
    hosts = fleet.tasks["host"].nunique()
    # A host is done when its last task is, and never while one of them has no place.
    last_s = placed[~placed["host"].isin(plan.refusals["host"])].groupby("host")["end_s"].max()
    done_s = np.sort(last_s.to_numpy(float))
    until_s = (days + 1) * DAY_S
    per_day = len(placed) / config.horizon_days
    full, n_never = None, int(never_placed(plan, fleet, config).sum())
    if len(placed):
        planned_days = (float(ends_s[-1]) - plan.plan_s) / DAY_S
        has_more = len(plan.refusals) > n_never
        full = (n_tasks - n_never) / per_day if has_more else planned_days
    return {
        "day_s": (days * DAY_S).tolist(),
        "tasks_left": (n_tasks - np.searchsorted(ends_s, until_s, "right")).tolist(),
        "hosts_left": (hosts - np.searchsorted(done_s, until_s, "right")).tolist(),
        "n_tasks": n_tasks,
        "n_hosts": int(hosts),
        "n_never": n_never,
        "per_day": round(per_day, 2),
        "days_to_full": None if full is None else round(full, 2),
    }


def service_figures(plan: RolloutPlan, fleet: Fleet) -> list[dict[str, Any]]:
    """Most hosts of each service that are down in each hour, as reserved; least headroom first.

    Each entry: service, cap, peak, hour_s and down, both over the hours of the plan.
    """
    placed, hours = plan.assignments, _hours(plan.assignments)
    # Caps hold over all domains.
    frame = pd.DataFrame(
        {
            "domain": "*",
            "service": placed["service"],
            "real_start_s": placed["start_s"].astype(float),
            "real_end_s": placed["end_s"].astype(float),
        }
    )
    caps = {("*", service): cap for service, cap in fleet.caps.items()}
    return [
        {
            "service": load.service,
            "cap": load.cap,
            "peak": load.peak,
            "hour_s": hours.tolist(),
            "down": _most_in(hours, load.at_s, load.down),
        }
        for load in service_loads(frame, caps)
    ]


def cap_risk_figures(plan: RolloutPlan) -> list[dict[str, Any]] | None:
    """Likeliest breach of each service's cap over the windows of the plan, highest first.

    Each entry: service, window_open_s, cap, hosts (of the service in that window), p_breach,
    and windows: how many have a breach that is above the limit of the plan. None: not measured.
    """
    risk = plan.cap_risk
    if risk is None:
        return None
    above = risk.groupby("service")["is_above_limit"].sum()
    worst = risk.sort_values(["p_breach", "service"], ascending=[False, True], kind="stable")
    worst = worst.drop_duplicates("service").assign(windows=lambda rows: rows["service"].map(above))
    columns = ["service", "window_open_s", "cap", "hosts", "p_breach", "windows"]
    return records(worst[columns].astype({"windows": int}))


def _hours(placed: pd.DataFrame) -> NDArray[np.int64]:
    """Hours from the first start to the last end."""
    if placed.empty:
        return np.zeros(0, dtype=np.int64)
    first, last = int(placed["start_s"].min()) // HOUR_S, int(placed["end_s"].max()) // HOUR_S
    return np.arange(first, last + 1, dtype=np.int64) * HOUR_S


def _time_in(tasks: pd.DataFrame, hours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Seconds of all tasks in each hour: the growth of what has run by its ends."""
    edges = np.append(hours, hours[-1] + HOUR_S).astype(float)

    def run_by(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        times_s = np.sort(times_s)
        before = np.searchsorted(times_s, edges)
        passed = edges * before - np.append(0.0, np.cumsum(times_s))[before]
        return np.asarray(passed, dtype=np.float64)

    total = run_by(tasks["start_s"].to_numpy(float)) - run_by(tasks["end_s"].to_numpy(float))
    return np.asarray(np.diff(total), dtype=np.float64)


def _most_in(
    hours: NDArray[np.int64], at_s: NDArray[np.float64], down: NDArray[np.float64]
) -> list[int]:
    """Highest value of a step function in each hour, at the instants and at its begin."""
    # Of several steps at one instant only the last one lasts.
    lasts = np.append(np.diff(at_s) > 0, True)
    at_s, down = at_s[lasts], down[lasts]
    begin = np.searchsorted(at_s, hours, "right") - 1
    most = np.where(begin >= 0, down[begin], 0.0)
    place = np.searchsorted(hours, at_s, "right") - 1
    np.maximum.at(most, place, down)
    return [int(count) for count in most]

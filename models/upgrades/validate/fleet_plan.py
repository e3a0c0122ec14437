"""Check a plan of a fleet against the fleet's own tables.

Every rule is derived again from the tables and the config; nothing that the planner
computed on its way is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd

from models.upgrades.config import DAY_S
from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import TASK_COLUMNS, RolloutPlan
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.validate.base import Violation, check_backlog, check_concurrency
from models.upgrades.validate.releases import check_releases
from models.upgrades.validate.services import check_services

_TIMES = ("window_open_s", "start_s", "reserved_s", "end_s", "deadline_s")


def check_fleet_plan(plan: RolloutPlan, fleet: Fleet, config: RolloutConfig) -> list[Violation]:
    """Check a plan of `plan_fleet`; an empty list means that it holds.

    A value that is no number is a violation like any other; what else it would have been
    checked against then passes it over.
    """
    strange = list(_check_numbers(plan))
    plan = _readable(plan)
    backlog = fleet.backlog.merge(
        fleet.hosts[["host_id", "domain", "service"]], on="host_id", validate="many_to_one"
    ).rename(columns={"host_id": "host"})
    backlog = backlog.assign(row=np.arange(len(backlog)))
    requested = [*TASK_COLUMNS, "release", "value"]
    known = plan.assignments[plan.assignments["task"].isin(backlog["task"])]
    about = ["task", "arrival_s", "deadline_s"]
    placed = known.merge(backlog[about], on="task", suffixes=("", "_asked"))
    return [
        *strange,
        *_check_shares(plan),
        *_check_waves(plan),
        *check_backlog(plan, backlog, requested),
        *_check_sentences(plan),
        *_check_windows(placed, fleet, config, plan.plan_s),
        *_check_times(placed, plan.plan_s),
        *_check_lanes(placed, fleet),
        *_check_hosts(placed),
        *_check_freezes(placed, fleet),
        *check_services(placed, fleet),
        *_check_precedence(plan, fleet),
        *_check_people(placed, config),
        *check_releases(plan, fleet, config),
    ]


def _numbers(values: pd.Series) -> pd.Series:
    return pd.to_numeric(values, errors="coerce").astype(float)


def _is_whole(values: pd.Series) -> pd.Series:
    numbers = _numbers(values)
    is_whole: pd.Series = np.isfinite(numbers) & (numbers % 1 == 0)
    return is_whole


def _check_numbers(plan: RolloutPlan) -> Iterator[Violation]:
    """Lanes and waves must be whole numbers, times must be numbers."""
    for table, columns in (
        (plan.assignments, ("lane", "wave", *_TIMES)),
        (plan.refusals, ("wave",)),
    ):
        for column in columns:
            values = table[column]
            is_good = _numbers(values).notna() if column in _TIMES else _is_whole(values)
            if column == "lane":
                is_good &= _numbers(values) >= 0
            rule = "window" if column in _TIMES else column
            for task, value in zip(table["task"][~is_good], values[~is_good], strict=True):
                yield Violation(rule, (str(task),), f"{column} {value!r} is not a number it can be")


def _readable(plan: RolloutPlan) -> RolloutPlan:
    """Return the plan with numbers only: times that are none as NaN, lanes and waves as -1."""

    def whole(values: pd.Series) -> pd.Series:
        return _numbers(values).where(_is_whole(values), -1).astype(np.int64)

    placed, refused = plan.assignments, plan.refusals
    times = {
        name: _numbers(placed[name])
        for name in _TIMES
        if not pd.api.types.is_numeric_dtype(placed[name])
    }
    wholes = {name: whole(placed[name]) for name in ("lane", "wave")}
    return replace(
        plan,
        assignments=placed.assign(**times, **wholes),
        refusals=refused.assign(wave=whole(refused["wave"])),
    )


def _check_shares(plan: RolloutPlan) -> Iterator[Violation]:
    """A probability lies within [0, 1]."""
    placed = plan.assignments
    is_good = _numbers(placed["p_in_time"]).between(0, 1)
    for task, found in zip(placed["task"][~is_good], placed["p_in_time"][~is_good], strict=True):
        yield Violation("p_in_time", (str(task),), f"{found!r} is no probability within [0, 1]")


def _check_waves(plan: RolloutPlan) -> Iterator[Violation]:
    """Only what installs a release goes out in waves."""
    for table in (plan.assignments, plan.refusals):
        is_free = table["release"].isin(["", "unknown"]) & (table["wave"] >= 0)
        for task, wave in zip(table["task"][is_free], table["wave"][is_free], strict=True):
            yield Violation("wave", (str(task),), f"in wave {wave} without a release")


def _check_sentences(plan: RolloutPlan) -> Iterator[Violation]:
    blank = plan.refusals[plan.refusals["detail"].str.strip() == ""]
    for task, reason in zip(blank["task"], blank["reason"], strict=True):
        yield Violation("refusal has a reason", (task,), f"{reason!r} comes without a sentence")


def _report(
    placed: pd.DataFrame, is_broken: np.ndarray, rule: str, words: str
) -> Iterator[Violation]:
    columns = ["task", "start_s", "end_s", "window_open_s", "deadline_s"]
    for task, start_s, end_s, open_s, latest_s in placed[columns][is_broken].itertuples(
        index=False, name=None
    ):
        detail = f"{words}: task {start_s}-{end_s}, window from {open_s}, rollback at {latest_s}"
        yield Violation(rule, (task,), detail)


def _check_windows(
    placed: pd.DataFrame, fleet: Fleet, config: RolloutConfig, plan_s: int
) -> Iterator[Violation]:
    own = placed[["domain"]].merge(fleet.domains, on="domain", how="left")
    types = placed[["type"]].merge(fleet.types, on="type", how="left")
    open_s = placed["window_open_s"].to_numpy(float)
    start_s, end_s = placed["start_s"].to_numpy(float), placed["end_s"].to_numpy(float)
    latest_s, reserved_s = (
        placed[column].to_numpy(float) for column in ("deadline_s", "reserved_s")
    )
    close_s = open_s + own["window_s"].to_numpy(float)
    rollback_s = types["rollback_s"].to_numpy(float)
    is_daily = (open_s - own["window_start_s"].to_numpy(float)) % DAY_S == 0
    is_near = (open_s >= plan_s) & (open_s < plan_s + config.horizon_days * DAY_S)
    yield from _report(placed, ~(is_daily & is_near), "window", "no window opens then")
    is_finite = np.isfinite(start_s) & np.isfinite(end_s) & (reserved_s > 0)
    yield from _report(placed, ~is_finite, "window", "times are not finite or nothing is reserved")
    yield from _report(placed, start_s < open_s, "window", "starts before the window opens")
    yield from _report(placed, end_s > close_s, "window", "reserved beyond the close")
    is_whole = np.abs(end_s - start_s - reserved_s) < 1e-6
    yield from _report(placed, ~is_whole, "window", "end is not start plus reservation")
    no_rollback = (latest_s + rollback_s > close_s) | (end_s > latest_s)
    yield from _report(placed, no_rollback, "rollback", "no time to roll back before the close")


def _check_times(placed: pd.DataFrame, plan_s: int) -> Iterator[Violation]:
    start_s, end_s = placed["start_s"].to_numpy(float), placed["end_s"].to_numpy(float)
    is_early = (start_s < plan_s) | (start_s < placed["arrival_s"].to_numpy(float))
    yield from _report(placed, is_early, "arrival", "starts before it was requested or planned")
    is_late = end_s > placed["deadline_s_asked"].to_numpy(float)
    yield from _report(placed, is_late, "deadline", "reserved beyond its deadline")


def _check_lanes(placed: pd.DataFrame, fleet: Fleet) -> Iterator[Violation]:
    lanes = dict(zip(fleet.domains["domain"], fleet.domains["lanes"], strict=True))
    # A lane that is none is told by the check of numbers.
    for keys, group in placed[placed["lane"] >= 0].groupby(["domain", "lane"]):
        domain, lane = str(keys[0]), int(str(keys[1]))
        n_lanes = lanes.get(domain, 0)
        if lane >= n_lanes:
            detail = f"{domain} has {n_lanes} lanes, the plan uses lane {lane}"
            yield Violation("lane", tuple(group["task"]), detail)
        yield from check_concurrency(group, 1, "lane", f"lane {lane} of {domain}")


def _check_hosts(placed: pd.DataFrame) -> Iterator[Violation]:
    for host, group in placed[placed["host"].duplicated(keep=False)].groupby("host"):
        yield from check_concurrency(group, 1, "host", f"host {host}")


def _check_freezes(placed: pd.DataFrame, fleet: Fleet) -> Iterator[Violation]:
    rollback_s = dict(zip(fleet.types["type"], fleet.types["rollback_s"], strict=True))
    # The task may be on the host until its rollback has ended, so this counts as its time.
    until_s = placed["deadline_s"] + placed["type"].map(rollback_s)
    for freeze in fleet.freezes:
        covered = (placed["domain"] == freeze.domain) | (freeze.domain == "*")
        covered &= (placed["service"] == freeze.service) | (freeze.service == "*")
        inside = (placed["start_s"] < freeze.until_s) & (until_s > freeze.from_s)
        words = f"{freeze.owner} freezes {freeze.from_s}-{freeze.until_s} ({freeze.reason})"
        yield from _report(placed, (covered & inside).to_numpy(bool), "freeze", words)


def _check_precedence(plan: RolloutPlan, fleet: Fleet) -> Iterator[Violation]:
    """Per host: a type starts when all that come before it have ended, and none was refused."""
    before: dict[str, set[str]] = {}
    for type_ in fleet.after:
        seen, stack = set(), list(fleet.after[type_])
        while stack:
            first = stack.pop()
            if first not in seen:
                seen.add(first)
                stack += fleet.after.get(first, ())
        before[type_] = seen
    columns = ["task", "host", "type", "start_s", "end_s"]
    refused = plan.refusals[columns[:3]].assign(start_s=np.inf, end_s=np.inf)
    tasks = pd.concat([plan.assignments[columns], refused], ignore_index=True)
    waits = pd.DataFrame(
        [(first, later) for later, firsts in before.items() for first in firsts],
        columns=["type_first", "type"],
    )
    pairs = tasks[np.isfinite(tasks["start_s"])].merge(waits, on="type")
    pairs = pairs.merge(
        tasks, left_on=["host", "type_first"], right_on=["host", "type"], suffixes=("", "_of_first")
    )
    early = pairs[pairs["end_s_of_first"] > pairs["start_s"]]
    about = ["host", "task", "start_s", "task_of_first", "end_s_of_first"]
    for host, later, start_s, first, end_s in early[about].itertuples(index=False, name=None):
        detail = f"on {host}, {later} starts at {start_s} before {first} ends ({end_s})"
        yield Violation("precedence", (first, later), detail)


def _check_people(placed: pd.DataFrame, config: RolloutConfig) -> Iterator[Violation]:
    """What a person decided: excluded hosts and pinned tasks."""
    for pattern in config.exclude:
        touched = [host for host in placed["host"].unique() if fnmatchcase(host, pattern)]
        is_touched = placed["host"].isin(touched).to_numpy(bool)
        yield from _report(placed, is_touched, "exclude", f"'{pattern}' leaves this host alone")
    if config.pin is not None:
        pins = pd.read_csv(config.pin, dtype=str)
        asked = pins["window_open_s"].str.strip()
        dates = pd.to_datetime(asked.where(~asked.str.isdigit()), errors="coerce")
        numbers = pd.to_numeric(asked, errors="coerce")
        pins["window_open_s"] = numbers.fillna((dates - pd.Timestamp(0)).dt.total_seconds())
        both = placed.merge(pins, on="task", suffixes=("", "_pinned"))
        is_moved = (both["window_open_s"] != both["window_open_s_pinned"]).to_numpy(bool)
        yield from _report(both, is_moved, "pin", "it is pinned to another window")

"""Check a plan of a history: daily windows, lanes, caps by domain, order of types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from models.upgrades.config import UpgradeConfig
from models.upgrades.history import History
from models.upgrades.plan import (
    TASK_COLUMNS,
    PlanRules,
    RolloutPlan,
    backlog_rows,
    backlog_tasks,
    plan_rules,
)
from models.upgrades.splits import Split
from models.upgrades.validate.base import Violation, check_backlog, check_concurrency


def check_plan(
    plan: RolloutPlan, history: History, split: Split, config: UpgradeConfig
) -> list[Violation]:
    """Check a plan of `plan_rollout`; an empty list means that it holds."""
    backlog = backlog_tasks(history, backlog_rows(history, split, config))
    return check_assignments(plan, backlog, plan_rules(history, split, config))


def check_assignments(
    plan: RolloutPlan, backlog: pd.DataFrame, rules: PlanRules
) -> list[Violation]:
    """Check any plan of any backlog.

    Args:
        plan: The plan.
        backlog: The tasks that it should place or refuse, `TASK_COLUMNS`.
        rules: Windows, lanes, caps and the order of types.
    """
    return [
        *check_backlog(plan, backlog, TASK_COLUMNS),
        *_check_windows(plan.assignments, rules),
        *_check_lanes(plan.assignments, rules),
        *_check_hosts(plan.assignments),
        *_check_caps(plan.assignments, rules.caps),
        *_check_precedence(plan, rules.ranks),
    ]


def _check_windows(assignments: pd.DataFrame, rules: PlanRules) -> Iterator[Violation]:
    opens = set(rules.opens.tolist())
    columns = ["task", "window_open_s", "start_s", "reserved_s", "end_s", "deadline_s"]
    for task, open_s, start_s, reserved_s, end_s, deadline_s in assignments[columns].itertuples(
        index=False, name=None
    ):
        close_s = open_s + rules.window_s
        broken = {
            "no window opens then": open_s not in opens,
            "times are not finite": not np.isfinite([start_s, reserved_s, end_s]).all(),
            "nothing is reserved": not reserved_s > 0,
            "starts before the window opens": start_s < open_s,
            "reserved beyond the close": end_s > close_s,
            "deadline is not the close": deadline_s != close_s,
            "end is not start plus reservation": abs(end_s - start_s - reserved_s) > 1e-6,
        }
        for what, is_broken in broken.items():
            if is_broken:
                detail = f"{what}: window {open_s}-{close_s}, task {start_s}-{end_s}"
                yield Violation("window", (task,), detail)


def _check_lanes(assignments: pd.DataFrame, rules: PlanRules) -> Iterator[Violation]:
    for keys, group in assignments.groupby(["domain", "lane"]):
        domain, lane = str(keys[0]), int(str(keys[1]))
        n_lanes = rules.lanes.get(domain, 1)
        if not 0 <= lane < n_lanes:
            detail = f"{domain} has {n_lanes} lanes, the plan uses lane {lane}"
            yield Violation("lane", tuple(group["task"]), detail)
        yield from check_concurrency(group, 1, "lane", f"lane {lane} of {domain}")


def _check_hosts(assignments: pd.DataFrame) -> Iterator[Violation]:
    for host, group in assignments.groupby("host"):
        yield from check_concurrency(group, 1, "host", f"host {host}")


def _check_caps(
    assignments: pd.DataFrame, caps: Mapping[tuple[str, str], int]
) -> Iterator[Violation]:
    for keys, group in assignments.groupby(["domain", "service"]):
        domain, service = str(keys[0]), str(keys[1])
        cap = caps.get((domain, service), 1)
        yield from check_concurrency(group, cap, "service cap", f"{service} of {domain}")


def _check_precedence(plan: RolloutPlan, ranks: Mapping[str, int]) -> Iterator[Violation]:
    """Per host: whatever ranks lower must have ended, and must not have been refused."""
    refused = plan.refusals[["task", "host", "type"]].assign(start_s=np.inf, end_s=np.inf)
    placed = plan.assignments[["task", "host", "type", "start_s", "end_s"]]
    tasks = pd.concat([placed, refused], ignore_index=True)
    tasks = tasks.assign(rank=tasks["type"].map(ranks)).dropna(subset=["rank"])
    for host, group in tasks.groupby("host"):
        records = list(
            group[["task", "rank", "start_s", "end_s"]].itertuples(index=False, name=None)
        )
        for later, later_rank, start_s, _ in records:
            if not np.isfinite(start_s):
                continue
            for first, first_rank, _, end_s in records:
                if first_rank < later_rank and end_s > start_s:
                    detail = f"on {host}, {later} starts at {start_s} before {first} ends ({end_s})"
                    yield Violation("precedence", (first, later), detail)

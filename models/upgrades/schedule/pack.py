"""Pack a backlog into daily windows: greedy by value density, one lane at a time.

Greedy with earliest feasible start is the base of the later solvers; exact models over the
whole horizon do not finish in useful time (docs of the upgrades system, section 7).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.config import UpgradeConfig
from models.upgrades.costs import in_time
from models.upgrades.features import asof_features
from models.upgrades.forecast.base import DurationModel
from models.upgrades.history import History
from models.upgrades.plan import (
    ASSIGNMENT_COLUMNS,
    REFUSAL_COLUMNS,
    PlanRules,
    RefusalReason,
    RolloutPlan,
    backlog_rows,
    backlog_tasks,
    plan_rules,
)
from models.upgrades.policy import Policy
from models.upgrades.splits import Rows, Split

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def plan_rollout(
    history: History,
    split: Split,
    model: DurationModel,
    policy: Policy,
    config: UpgradeConfig,
) -> RolloutPlan:
    """Plan the backlog known at the start of the test part over `horizon_days` windows.

    Forecasts use only events that had ended when the plan is made, not those that end
    between the plan and a task's start.

    Args:
        history: Canonical events; durations of the backlog are not read.
        split: Parts; the plan is made at `test_from_s`.
        model: The policy's fitted forecaster.
        policy: Whose reservations to pack.
        config: Windows, caps and horizon.
    """
    rows = backlog_rows(history, split, config)
    decision_s = np.minimum(history.seconds("start_s"), split.test_from_s)
    X = asof_features(history, decision_s).take(rows)
    forecast = in_time(model, X, config.window_s)
    reserved_s = policy.reserved_s(forecast, config)
    quantiles_s = model.quantiles(X, (0.5, 0.9))
    rules = plan_rules(history, split, config)
    tasks = backlog_tasks(history, rows).assign(
        reserved_s=reserved_s, p50_s=quantiles_s[:, 0], p90_s=quantiles_s[:, 1]
    )
    assignments, refusals = pack(tasks, rules)
    return RolloutPlan(
        assignments=assignments,
        refusals=refusals,
        policy=policy.label,
        plan_s=split.test_from_s,
        inputs_hash=_inputs_hash(history, policy, rows, config),
    )


def pack(tasks: pd.DataFrame, rules: PlanRules) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Place tasks greedily; return assignments and refusals.

    All completions are worth the same and are reserved at the same probability, so value
    density is one over the reservation: shortest first, within the order of types that a
    host demands.

    Args:
        tasks: `TASK_COLUMNS` plus reserved_s (infinite: no window is long enough), p50_s
            and p90_s.
        rules: Windows, lanes, caps and the order of types.
    """
    packer = _Packer(rules)
    ordered = tasks.iloc[_packing_order(tasks, rules)].reset_index(drop=True)
    slots: list[_Slot] = []
    reasons: list[RefusalReason] = []
    is_placed = np.zeros(len(ordered), dtype=bool)
    for place, (host, domain, service, type_, reserved_s) in enumerate(
        ordered[["host", "domain", "service", "type", "reserved_s"]].itertuples(
            index=False, name=None
        )
    ):
        slot = packer.place(host, domain, service, rules.ranks.get(type_), float(reserved_s))
        if isinstance(slot, _Slot):
            is_placed[place] = True
            slots.append(slot)
        else:
            reasons.append(slot)
    placed = ordered[is_placed].reset_index(drop=True)
    assignments = pd.concat([placed, pd.DataFrame(slots, columns=list(_Slot._fields))], axis=1)
    refused = ordered[~is_placed].reset_index(drop=True)
    refusals = refused.assign(
        reason=[reason.value for reason in reasons],
        detail=[_DETAILS[reason] for reason in reasons],
    )
    by_start = ["window_open_s", "domain", "lane", "start_s"]
    return (
        assignments[list(ASSIGNMENT_COLUMNS)].sort_values(by_start, ignore_index=True),
        refusals[list(REFUSAL_COLUMNS)].sort_values("task", ignore_index=True),
    )


def _packing_order(tasks: pd.DataFrame, rules: PlanRules) -> NDArray[np.intp]:
    """Shortest first, but no task of a host before the longest one that must precede it."""
    ranks = tasks["type"].map(rules.ranks).fillna(-1).to_numpy(int)
    key = tasks.assign(rank=ranks).sort_values(["host", "rank"], kind="stable")
    waits_for_s = key.groupby("host")["reserved_s"].cummax().sort_index().to_numpy(float)
    own_s = tasks["reserved_s"].to_numpy(float)
    names = tasks["task"].to_numpy(str)
    first_s = np.where(ranks >= 0, waits_for_s, own_s)
    return np.asarray(np.lexsort((names, own_s, ranks, first_s)), dtype=np.intp)


_DETAILS = {
    RefusalReason.NEEDS_LONGER_WINDOW: "the forecast asks for more than a whole window; "
    "lengthen window_s or hand the task to a person",
    RefusalReason.PRECEDENCE: "a task that must come first on this host has no place or ends "
    "too late; extend horizon_days",
    RefusalReason.HOST_BUSY: "other tasks hold this host in every window; extend horizon_days",
    RefusalReason.SERVICE_CAP: "too many hosts of the service would be down at once; raise "
    "service_cap or extend horizon_days",
    RefusalReason.NO_CAPACITY: "no lane of the domain has this much time left; extend "
    "horizon_days or lower load",
}


class _Slot(NamedTuple):
    """A place in a window; times in seconds of the local clock."""

    window_open_s: int
    lane: int
    start_s: float
    end_s: float
    deadline_s: int


class _Packer:
    """What is placed so far: free lanes, busy hosts, hosts down per service."""

    def __init__(self, rules: PlanRules) -> None:
        self._rules = rules
        self._lane_free_s: dict[tuple[str, int], list[float]] = {}
        self._down: dict[tuple[str, str], list[Interval]] = defaultdict(list)
        self._host_busy: dict[str, list[Interval]] = defaultdict(list)
        # Latest reserved end per host and rank; infinite once a task of it was refused.
        self._host_rank_end_s: dict[str, dict[int, float]] = defaultdict(dict)

    def place(
        self, host: str, domain: str, service: str, rank: int | None, reserved_s: float
    ) -> _Slot | RefusalReason:
        """Give the task its earliest feasible start, or the reason why there is none."""
        slot = self._find(host, domain, service, reserved_s, self._ready_s(host, rank))
        end_s = np.inf
        if isinstance(slot, _Slot):
            end_s = slot.end_s
            window = int(np.searchsorted(self._rules.opens, slot.window_open_s))
            self._lane_free_s[domain, window][slot.lane] = end_s
            self._host_busy[host].append((slot.start_s, end_s))
            self._down[domain, service].append((slot.start_s, end_s))
        if rank is not None:
            before_s = self._host_rank_end_s[host].get(rank, -np.inf)
            self._host_rank_end_s[host][rank] = max(before_s, end_s)
        return slot

    def _ready_s(self, host: str, rank: int | None) -> float:
        if rank is None:
            return -np.inf
        ends = [end for other, end in self._host_rank_end_s[host].items() if other < rank]
        return max(ends, default=-np.inf)

    def _find(
        self, host: str, domain: str, service: str, reserved_s: float, ready_s: float
    ) -> _Slot | RefusalReason:
        rules = self._rules
        if reserved_s > rules.window_s:
            return RefusalReason.NEEDS_LONGER_WINDOW
        busy, down = self._host_busy[host], self._down[domain, service]
        cap = rules.caps.get((domain, service), 1)
        reason = RefusalReason.NO_CAPACITY
        for window, open_s in enumerate(rules.opens.tolist()):
            no_lane_used = [float(open_s)] * rules.lanes.get(domain, 1)
            free_s = self._lane_free_s.setdefault((domain, window), no_lane_used)
            lane = int(np.argmin(free_s))
            latest_s = open_s + rules.window_s - reserved_s
            if free_s[lane] > latest_s:
                continue
            # Some lane has room, so from here on something else is in the way.
            at_s = max(free_s[lane], ready_s)
            if at_s > latest_s:
                reason = RefusalReason.PRECEDENCE
            elif _earliest_start(busy, at_s, reserved_s, 1) > latest_s:
                reason = RefusalReason.HOST_BUSY
            elif (start_s := _earliest_both(busy, down, at_s, reserved_s, cap)) > latest_s:
                reason = RefusalReason.SERVICE_CAP
            else:
                close_s = open_s + rules.window_s
                return _Slot(open_s, lane, start_s, start_s + reserved_s, close_s)
        return reason


def _earliest_start(held: Sequence[Interval], at_s: float, length_s: float, cap: int) -> float:
    """First start from `at_s` on at which fewer than `cap` of `held` overlap, throughout."""
    for start_s in sorted({at_s, *(end for _, end in held if end > at_s)}):
        inside = [(a, b) for a, b in held if a < start_s + length_s and b > start_s]
        # Concurrency only rises where an interval begins.
        points = [start_s, *(a for a, _ in inside if a > start_s)]
        if all(sum(a <= point < b for a, b in inside) < cap for point in points):
            return start_s
    return np.inf


def _earliest_both(
    busy: Sequence[Interval], down: Sequence[Interval], at_s: float, length_s: float, cap: int
) -> float:
    """First start that suits both the host and the service; each step only moves later."""
    while np.isfinite(at_s):
        start_s = _earliest_start(down, _earliest_start(busy, at_s, length_s, 1), length_s, cap)
        if start_s == at_s:
            return start_s
        at_s = start_s
    return at_s


def _inputs_hash(history: History, policy: Policy, rows: Rows, config: UpgradeConfig) -> str:
    digest = hashlib.sha256()
    for part in (history.digest, config.model_dump_json(), repr(policy), rows.tolist()):
        digest.update(f"{part}\x1e".encode())
    return digest.hexdigest()

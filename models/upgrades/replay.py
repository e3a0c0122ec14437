"""Replay a rollout plan against the durations that really happened."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd

from models.upgrades.config import UpgradeConfig
from models.upgrades.history import History
from models.upgrades.metrics import PolicyMetrics, policy_metrics
from models.upgrades.plan import PlanRules, RefusalReason, RolloutPlan, plan_rules
from models.upgrades.splits import Split

COMPLETED, CANCELLED, HELD, NOT_STARTED = "completed", "cancelled", "held", "not started"


@dataclass(frozen=True)
class PlanOutcome:
    """What became of a plan.

    Attributes:
        frame: The assignments plus real_start_s, real_end_s (cut off at the deadline; NaN
            if never started), duration_s (true) and outcome: completed, cancelled (rolled
            back at the deadline), held (a task that had to come first was not completed)
            or not started (its lane or host was busy until the deadline).
        metrics: Counts and prices; held and not-started tasks are waiting.
        cap_breach_s: Time during which more hosts of a service were down than its cap
            allows, because tasks overran their reservations; summed over services.
    """

    frame: pd.DataFrame
    metrics: PolicyMetrics
    cap_breach_s: float


def simulate_plan(
    plan: RolloutPlan, history: History, split: Split, config: UpgradeConfig
) -> PlanOutcome:
    """Keep the planned starts and let every task take as long as it really took.

    A start slips while its lane or host is busy. Nothing is re-planned.
    """
    rules = plan_rules(history, split, config)
    duration_s = history.seconds("duration_s")
    ordered = plan.assignments.sort_values(["start_s", "domain", "lane"], kind="stable")
    lane_free_s: dict[tuple[str, int], float] = defaultdict(lambda: -np.inf)
    host_free_s: dict[str, float] = defaultdict(lambda: -np.inf)
    failed_rank: dict[str, int] = {}
    runs = []
    columns = ["row", "host", "domain", "lane", "type", "start_s", "deadline_s"]
    for row, host, domain, lane, type_, planned_s, deadline_s in ordered[columns].itertuples(
        index=False, name=None
    ):
        rank = rules.ranks.get(type_)
        start_s = max(float(planned_s), lane_free_s[domain, lane], host_free_s[host])
        end_s = min(start_s + float(duration_s[row]), float(deadline_s))
        if rank is not None and failed_rank.get(host, rank) < rank:
            outcome, start_s, end_s = HELD, np.nan, np.nan
        elif start_s >= deadline_s:
            outcome, start_s, end_s = NOT_STARTED, np.nan, np.nan
        else:
            is_done = start_s + duration_s[row] <= deadline_s
            outcome = COMPLETED if is_done else CANCELLED
            lane_free_s[domain, lane] = host_free_s[host] = end_s
        if outcome != COMPLETED and rank is not None:
            failed_rank[host] = min(failed_rank.get(host, rank), rank)
        runs.append((start_s, end_s, float(duration_s[row]), outcome))
    names = ["real_start_s", "real_end_s", "duration_s", "outcome"]
    frame = ordered.join(pd.DataFrame(runs, columns=names, index=ordered.index)).sort_index()
    return PlanOutcome(frame, _measure(frame, plan, rules, config), _cap_breach_s(frame, rules))


def _measure(
    frame: pd.DataFrame, plan: RolloutPlan, rules: PlanRules, config: UpgradeConfig
) -> PolicyMetrics:
    started = frame[frame["real_start_s"].notna()]
    refused = plan.refusals["reason"] == RefusalReason.NEEDS_LONGER_WINDOW
    domains = set(plan.frame["domain"])
    lane_days = sum(rules.lanes.get(domain, 1) for domain in domains) * len(rules.opens)
    return policy_metrics(
        tasks=len(frame) + len(plan.refusals),
        busy_s=(started["real_end_s"] - started["real_start_s"]).to_numpy(float),
        is_completed=(started["outcome"] == COMPLETED).to_numpy(bool),
        refused=int(refused.sum()),
        given_up=0,
        capacity_s=float(lane_days * rules.window_s),
        costs=config.costs,
    )


def _cap_breach_s(frame: pd.DataFrame, rules: PlanRules) -> float:
    started = frame[frame["real_start_s"].notna()]
    total_s = 0.0
    for (domain, service), group in started.groupby(["domain", "service"]):
        cap = rules.caps.get((str(domain), str(service)), 1)
        times = np.concatenate([group["real_start_s"], group["real_end_s"]])
        steps = np.repeat([1, -1], len(group))
        order = np.lexsort((steps, times))
        down = np.cumsum(steps[order])[:-1]
        total_s += float(np.diff(times[order])[down > cap].sum())
    return total_s

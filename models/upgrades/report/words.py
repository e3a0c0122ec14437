"""What the report says in words: the headline, the sections' sentences, the caveats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.bootstrap import Interval
from models.upgrades.config import UpgradeConfig
from models.upgrades.history import History
from models.upgrades.operating import EXISTING, STRONG_RULE
from models.upgrades.plan import RolloutPlan
from models.upgrades.replay import PlanOutcome
from models.upgrades.report.plan_charts import MOST_SERVICES, MOST_TASKS
from models.upgrades.report.tables import percent

# Fewest cancellations (or completions) of both sides together that a verdict rests on: with
# fewer than ten, even all on one side are no more than a batch or two.
MIN_COUNTED = 10
_OF_SOURCE = {
    "lanl_outages": (
        "LANL node outages (1995-2004) stand in for software upgrades; no open data set of "
        "upgrade durations is known. The planned rows are the nearest true data.",
        "For failures the type (cause group) was written after the repair: hindsight that a "
        "dispatcher would not have. Planned tasks carry their work order; their own lines are "
        "shown apart and are too few for a claim.",
        "A whole day's window serves few LANL outages: most domains need less than their one "
        "lane, so utilisation is low for every policy, the oracle included.",
    ),
    "grid5000_node_unavailability": (
        "Grid'5000 unavailability intervals (2005-2006) stand in for software upgrades: reboots "
        "and re-deployments of minutes, repairs of days. No reason was recorded, so a task's "
        "type is its cluster, and a type rule is a cluster rule.",
        "One cluster is 37 % of the test part, and many intervals begin together: the weeks "
        "differ widely and so do the intervals.",
    ),
}
_OF_ALL = (
    "Definitions of utilisation, scheduled, completed and cancelled are ours. The paper's are "
    "not public, so no line here claims parity with it.",
    "The replay assumes that a task needs the same time whenever it runs. An informed retry "
    "(what an aborted start has taught) profits from that; compare it with blind rows. The "
    "idea of informed retries came from looking at the whole LANL trace, the test part "
    "included.",
    "Coverage is marginal over tasks, not a promise for one task. Intervals are a paired "
    "block bootstrap by week.",
)


def caveats(history: History) -> tuple[str, ...]:
    """Return what a reader of figures on this history must know."""
    own = list(_OF_SOURCE.get(history.source, ()))
    aborted = int(history.is_censored.sum())
    if aborted:
        own.append(
            f"{aborted:,} of {len(history):,} events were aborted: their durations are lower "
            "bounds. They are learnt from as such; scores and replays leave them out, which "
            "flatters every policy alike, since the longest tasks are aborted most."
        )
    return (*own, *_OF_ALL)


# What a forecast rests on where it is no sum over features; by the start of its name.
_RESTS_ON = {
    "type-": "durations of the task's type alone",
    "body-": "durations of the task's type without its stragglers",
    "global-": "durations of all tasks alike",
    "xgb-hurdle": "a mixture of a chance to straggle, a body and a tail, which is no sum",
}


def headline(result: BenchmarkResult) -> str:
    """Say in one sentence what the selected policy did, good or bad."""
    selected = policy_line(result.policies, result.selection.policy.label)
    text = (
        f"{selected['policy']} completed {selected['completed']:,} of {selected['tasks']:,} tasks "
        f"and cancelled {percent(selected['cancellation_rate'])} of its starts"
    )
    for policy, what in ((EXISTING, "the type-P95 calendar"), (STRONG_RULE, "body-P95 online")):
        other = policy_line(result.policies, policy.label)
        if other is not None and policy != result.selection.policy:
            text += (
                f"; {what} completed {other['completed']:,} "
                f"and cancelled {percent(other['cancellation_rate'])}"
            )
    return text + "."


def verdict(
    measure: str, interval: Interval, mine: Mapping[str, Any], other: Mapping[str, Any]
) -> str:
    """Say whether a ratio is better, worse, or no difference beyond chance.

    Args:
        measure: `completed` or `cancellation_rate`.
        interval: Selected policy divided by the reference, 95 % block bootstrap by week.
        mine: Line of the selected policy in the table of policies.
        other: Line of the reference.
    """
    counted = "completed" if measure == "completed" else "cancelled"
    n = (int(mine[counted]), int(other[counted]))
    unclear = f"no difference beyond chance ({n[0]:,} against {n[1]:,} {counted})"
    if interval.low is None or interval.high is None or interval.low <= 1 <= interval.high:
        return unclear
    # Of a handful every draw looks alike: none against three gives the interval 0 to 0.
    if sum(n) < MIN_COUNTED:
        return unclear
    is_more = interval.low > 1
    return "better" if is_more == (measure == "completed") else "worse"


def plan_words(plan: RolloutPlan, outcome: PlanOutcome, config: UpgradeConfig) -> str:
    """Say what was placed and what came of it."""
    metrics = outcome.metrics
    left_out = len(plan.assignments) - MOST_TASKS
    drawn = (
        ""
        if left_out <= 0
        else (
            f" The first {MOST_TASKS} by window are drawn, {left_out:,} more are in the JSON file."
        )
    )
    return (
        f"{metrics.tasks:,} tasks of the first {config.horizon_days} days: "
        f"{len(plan.assignments):,} placed, {len(plan.refusals):,} refused with a reason. Kept "
        f"to, the plan completed {metrics.completed:,} and cancelled {metrics.cancelled:,}.{drawn}"
    )


def selection_words(result: BenchmarkResult, config: UpgradeConfig) -> str:
    """Say how the policy was chosen."""
    costs = config.costs
    return (
        f"{len(result.selection.table)} candidates competed on {result.sizes['select']:,} tasks "
        f"before the test part. A completed upgrade is worth {costs.completed_value:g}, a "
        f"cancelled start costs {costs.cancel_cost:g}, an idle lane hour "
        f"{costs.idle_cost_per_lane_h:g}. Candidates within {config.tie_errors:g} standard "
        f"error of the cheapest (paired by week, and at most {config.tie_share:.0%} of the value "
        "of all tasks) tie with it, and the simplest of them was chosen: "
        f"{result.selection.policy.label}."
    )


def headroom_words(numbers: Mapping[str, Any], outcome: PlanOutcome) -> str:
    """Say how often a service was pushed above its cap."""
    headroom = numbers["headroom"]
    above = [load for load in headroom if load["above_cap_min"] > 0]
    shown = (
        ""
        if len(headroom) <= MOST_SERVICES
        else (f" The {MOST_SERVICES} with the least headroom are drawn, the table has all.")
    )
    broken = (
        f"{len(above)} went above their cap, for {outcome.cap_breach_s / 60:.0f} minutes in all, "
        "because tasks overran their reservations"
        if above
        else "none went above its cap"
    )
    return f"{len(headroom)} services had hosts down at some time; {broken}.{shown}"


def shap_words(result: BenchmarkResult, shap: Mapping[str, Any] | None) -> str:
    """Say which quantile is explained, or what was used instead of features."""
    policy = result.selection.policy
    if shap is None:
        rests_on = next(
            (what for start, what in _RESTS_ON.items() if policy.forecaster.startswith(start)),
            "a model that gives no contributions",
        )
        return (
            f"The selected policy ({policy.label}) has no feature contributions to show: its "
            f"forecaster rests on {rests_on}. Two tasks of one type on one day get the same "
            "forecast."
            if policy.forecaster.startswith(("type-", "body-"))
            else f"The selected policy ({policy.label}) has no feature contributions to show: "
            f"its forecaster rests on {rests_on}."
        )
    asked = (
        f"the {shap['used_level']:g} quantile, which {policy.label} looks at"
        if policy.level is not None
        else f"the {shap['used_level']:g} quantile, where a start of {policy.label} breaks even"
    )
    nearest = (
        f" (the nearest that the trees have is {shap['level']:g})"
        if abs(shap["level"] - shap["used_level"]) > 1e-9
        else ""
    )
    return (
        f"TreeSHAP of {asked}{nearest}, over {shap['n']:,} test tasks and before conformal "
        "margins. How to read it: the longer the bar, the more the feature moves the forecast; "
        "0.7 log seconds double it or halve it."
    )


def example_words(example: Mapping[str, Any]) -> str:
    """Say which decision the waterfall shows."""
    return (
        f"One decision, a long forecast: {example['type']} on {example['host']}. Read from the "
        "top: each bar multiplies the forecast by its factor, red lengthens, green shortens; "
        f"the last is the {example['quantile_h']:.1f} h that were used."
    )


def policy_line(table: pd.DataFrame, label: str) -> Any:
    """Return the line of a policy in a table of policies; None where it is not in it."""
    rows = table[table["policy"] == label].to_dict("records")
    return rows[0] if rows else None

"""The figures of a run: flat metrics for the tracker, a few lines for people."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from models.figures import Figure, FlowSummary
from models.upgrades.benchmark import CLAIRVOYANT, EXISTING, STRONG_RULE, BenchmarkResult
from models.upgrades.config import UpgradeConfig
from models.upgrades.plan import RolloutPlan
from models.upgrades.replay import PlanOutcome

_TEST_METRICS = (
    *("scheduled", "completed", "cancelled", "refused", "given_up", "waiting", "utilisation"),
    *("waste", "cancellation_rate", "cost_per_task", "regret"),
)


def run_metrics(result: BenchmarkResult, outcome: PlanOutcome) -> dict[str, float | None]:
    """Return every figure of a run under `stage/metric`; not measured is None.

    Stages: `test` (the selected policy on the test part) and beside it `existing`,
    `strong_rule` and `oracle`; `headline` (ratios to the references with their 95 %
    interval); `forecast/<model>`; `plan` (what came of the plan).
    """
    metrics: dict[str, float | None] = {}
    stages = {
        "test": result.selection.policy.label,
        "existing": EXISTING.label,
        "strong_rule": STRONG_RULE.label,
        "oracle": CLAIRVOYANT.label,
    }
    for stage, label in stages.items():
        scores = policy_row(result, label)
        metrics |= {f"{stage}/{name}": scores[name] for name in _TEST_METRICS}
    for reference, ratios in result.headline.items():
        for measure, interval in ratios._asdict().items():
            for part, value in interval._asdict().items():
                metrics[f"headline/{_plain(reference)}/{measure}_{part}"] = value
    for row in result.forecasts[result.forecasts["rows"] == "all"].to_dict("records"):
        model = _plain(str(row["model"]))
        for name, score in row.items():
            if "@" in str(name):
                metrics[f"forecast/{model}/{_plain(str(name))}"] = score
    metrics |= {f"plan/{name}": value for name, value in asdict(outcome.metrics).items()}
    metrics["plan/cap_breach_s"] = outcome.cap_breach_s
    return metrics


def forecaster_metrics(result: BenchmarkResult, name: str) -> dict[str, float | None]:
    """Return what one forecaster reached on the test part: its forecasts, its best policy."""
    forecasts = result.forecasts
    scored = forecasts[(forecasts["rows"] == "all") & (forecasts["model"] == name)]
    policies = result.policies[result.policies["forecaster"] == name]
    best = policies.sort_values("cost").iloc[0]
    return {
        **{_plain(str(key)): value for key, value in scored.iloc[0].items() if "@" in str(key)},
        **{f"best_policy/{key}": best[key] for key in _TEST_METRICS},
    }


def flow_summary(
    result: BenchmarkResult, plan: RolloutPlan, outcome: PlanOutcome, config: UpgradeConfig
) -> FlowSummary:
    """Say what a run did, the figures of the test part beside those of the existing rule."""
    mine = policy_row(result, result.selection.policy.label)
    existing = policy_row(result, EXISTING.label)
    return FlowSummary(
        did=(
            f"placed {len(plan.assignments)} of {len(plan.frame)} upgrades in "
            f"{config.horizon_days} daily windows by '{plan.policy}'; "
            f"{outcome.metrics.completed} completed, {outcome.metrics.cancelled} cancelled, "
            f"{len(plan.assignments) - outcome.metrics.scheduled} never started "
            "when the plan met the real durations (a replay: nothing was executed)"
        ),
        baseline=EXISTING.label,
        figures=(
            Figure("test tasks completed", mine["completed"], existing["completed"], "{:,.0f}"),
            Figure(
                "cancelled share of starts",
                *(mine["cancellation_rate"], existing["cancellation_rate"], "{:.1%}"),
            ),
            Figure("utilisation", mine["utilisation"], existing["utilisation"], "{:.1%}"),
            Figure("regret to the oracle", mine["regret"], existing["regret"], "{:.1%}"),
        ),
    )


def policy_row(result: BenchmarkResult, label: str) -> dict[str, Any]:
    """Return the line of one policy in the table of the test part.

    Raises:
        KeyError: The policy is not in the table.
    """
    rows = result.policies[result.policies["policy"] == label].to_dict("records")
    if not rows:
        raise KeyError(label)
    return {str(name): value for name, value in rows[0].items()}


def _plain(name: str) -> str:
    """Return a metric name that MLflow takes: no `@`, no brackets."""
    return re.sub(r"[^\w./-]+", "_", name).strip("_")

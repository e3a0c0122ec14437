"""The numbers behind every chart, as plain JSON values."""

from __future__ import annotations

import json
from typing import Any

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.forecast.score import COVERAGE_LEVELS
from models.upgrades.plan import RolloutPlan
from models.upgrades.replay import PlanOutcome


def figures(result: BenchmarkResult, plan: RolloutPlan, outcome: PlanOutcome) -> dict[str, Any]:
    """Return what the charts show; every value is a JSON value, not measured is None.

    Keys: headline and ablation (ratios with 95 % intervals), calibration (model to observed
    coverage per nominal level), frontier (per policy), refusals (reason to count), windows
    (per placed task: planned and real hours after the opening of its window).
    """
    covered = result.forecasts[result.forecasts["rows"] == "all"]
    frontier = result.policies[
        [
            *("policy", "forecaster", "dispatch", "is_informed", "scheduled", "completed"),
            *("cancelled", "cancellation_rate", "cost", "regret", "is_selected"),
        ]
    ]
    windows = outcome.frame[["task", "host", "domain", "service", "type", "lane", "outcome"]]
    open_s = outcome.frame["window_open_s"]
    windows = windows.assign(
        window_open_s=open_s,
        start_h=_hours(outcome.frame["start_s"] - open_s),
        reserved_end_h=_hours(outcome.frame["end_s"] - open_s),
        p50_end_h=_hours(outcome.frame["start_s"] - open_s + outcome.frame["p50_s"]),
        p90_end_h=_hours(outcome.frame["start_s"] - open_s + outcome.frame["p90_s"]),
        real_start_h=_hours(outcome.frame["real_start_s"] - open_s),
        real_end_h=_hours(outcome.frame["real_end_s"] - open_s),
        duration_h=_hours(outcome.frame["duration_s"]),
    )
    document = json.loads(result.to_json())
    reasons = plan.refusals["reason"].value_counts()
    return {
        **{key: document[key] for key in ("headline", "ablation")},
        "calibration": {
            str(row["model"]): {
                f"{level:g}": float(row[f"coverage@{level:g}"]) for level in COVERAGE_LEVELS
            }
            for row in covered.to_dict("records")
        },
        "frontier": json.loads(frontier.to_json(orient="records")),
        "refusals": {str(reason): int(count) for reason, count in reasons.items()},
        "windows": json.loads(windows.to_json(orient="records")),
    }


def _hours(seconds: Any) -> Any:
    return (seconds.astype(float) / 3_600).round(4)

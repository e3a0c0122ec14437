"""The numbers behind every chart, as plain JSON values."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from models.upgrades.report.forecast_figures import (
    reliability_figures,
    shap_figures,
    tail_figures,
)
from models.upgrades.report.inputs import ReportInputs
from models.upgrades.report.plan_figures import (
    headroom_figures,
    records,
    refusal_figures,
    window_figures,
)
from models.upgrades.report.policy_figures import cost_figures
from models.upgrades.report.running import running_figures

FRONTIER_COLUMNS = (
    *("policy", "forecaster", "dispatch", "is_informed", "level", "lane_price_per_h"),
    *("scheduled", "completed", "cancelled", "cancellation_rate", "cost", "regret"),
    "is_selected",
)
CANDIDATE_COLUMNS = (
    *("policy", "completed", "cancelled", "cancellation_rate", "cost", "more_than_cheapest"),
    *("standard_error", "is_selected"),
)


def figures(inputs: ReportInputs) -> dict[str, Any]:
    """Return what the charts show; every value is a JSON value, not measured is None.

    Keys:
        headline, ablation: ratios with 95 % intervals.
        frontier: what each policy did to the test part, cheapest first.
        equal_completions, candidates: tables of the benchmark and of the selection.
        costs: cost per task over levels and over the ratio of prices; see `cost_figures`.
        burn_down: tasks left per day.
        windows: planned and real hours of each placed task; see `window_figures`.
        refusals: reason to count.
        headroom: hosts down against caps; see `headroom_figures`.
        calibration: observed coverage of each forecaster per nominal level.
        reliability: coverage of the chosen forecaster, overall and per type, with intervals.
        tail: durations that last longer, observed and forecast.
        running: chance to end within a window by elapsed time; None: no distribution.
        shap: what the features add to the quantile that is used; None: nothing to add up.
    """
    result = inputs.result
    document = json.loads(result.to_json())
    return {
        **{key: document[key] for key in ("headline", "ablation", "equal_completions")},
        "frontier": records(result.policies[[*FRONTIER_COLUMNS]]),
        "candidates": records(result.selection.table[[*CANDIDATE_COLUMNS]]),
        "costs": cost_figures(result.policies, inputs.config),
        "burn_down": {
            str(name): [int(count) for count in result.burn_down[name]]
            for name in result.burn_down.columns
        },
        "windows": window_figures(inputs.outcome.frame),
        "refusals": refusal_figures(inputs.plan),
        "headroom": headroom_figures(inputs),
        "calibration": calibration_figures(result.forecasts),
        "reliability": reliability_figures(inputs),
        "tail": tail_figures(inputs),
        "running": running_figures(inputs),
        "shap": shap_figures(inputs),
    }


def calibration_figures(forecasts: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Observed coverage of all test tasks by forecaster and nominal level."""
    covered = forecasts[forecasts["rows"] == "all"].set_index("model").filter(like="coverage@")
    return {
        str(model): {str(name).partition("@")[2]: float(share) for name, share in row.items()}
        for model, row in covered.iterrows()
    }

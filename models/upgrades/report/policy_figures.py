"""Numbers about policies: what they cost at other levels and other prices."""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.upgrades.cells import CLAIRVOYANT
from models.upgrades.config import UpgradeConfig
from models.upgrades.operating import EXISTING, STRONG_RULE, STRONG_RULE_INFORMED

COST_RATIOS = (1, 3, 10, 30)
# A curve needs more than two levels; forecasters with one level of their own have none.
LEAST_LEVELS = 3


def cost_figures(policies: pd.DataFrame, config: UpgradeConfig) -> dict[str, Any]:
    """Price the counts of the test part anew at other ratios of costs.

    The ratio is the cost of a cancelled start to the value of a completed upgrade; idle
    lane hours keep their price. The policies were simulated once: their starts do not
    change with the price.

    Args:
        policies: `assemble_policy_table`.
        config: Value of a completed upgrade and price of an idle lane hour.

    Returns:
        ratios; curves (per forecaster and kind of retry, online: levels and cost_per_task
        by ratio); references (selected, existing, strong rules, oracle: cost_per_task by
        ratio); cheapest (by ratio: policy, level and cost of the cheapest point of all
        curves). Costs are in completed upgrades.
    """
    priced = policies.assign(
        **{str(ratio): _cost_per_task(policies, ratio, config) for ratio in COST_RATIOS}
    )
    swept = priced[(priced["dispatch"] == "online") & priced["level"].notna()]
    curves = []
    for (name, is_informed), own in swept.groupby(["forecaster", "is_informed"], sort=True):
        if len(own) >= LEAST_LEVELS:
            own = own.sort_values("level")
            curves.append(
                {
                    "forecaster": str(name),
                    "is_informed": bool(is_informed),
                    "policies": own["policy"].tolist(),
                    "levels": own["level"].tolist(),
                    "cost_per_task": {str(r): own[str(r)].tolist() for r in COST_RATIOS},
                }
            )
    selected = priced.loc[priced["is_selected"], "policy"]
    wanted = {
        **{str(label): "selected" for label in selected},
        EXISTING.label: "existing",
        STRONG_RULE.label: "strong rule",
        STRONG_RULE_INFORMED.label: "strong rule, informed",
        CLAIRVOYANT.label: "oracle",
    }
    return {
        "ratios": list(COST_RATIOS),
        "curves": curves,
        "references": [
            {
                "policy": row["policy"],
                "role": wanted[row["policy"]],
                "cost_per_task": {str(ratio): row[str(ratio)] for ratio in COST_RATIOS},
            }
            for row in priced.to_dict("records")
            if row["policy"] in wanted
        ],
        "cheapest": {str(ratio): _cheapest(curves, str(ratio)) for ratio in COST_RATIOS},
    }


def _cost_per_task(policies: pd.DataFrame, ratio: float, config: UpgradeConfig) -> pd.Series:
    costs = config.costs
    idle_h = policies["idle_min"] / 60
    net = costs.completed_value * (policies["completed"] - ratio * policies["cancelled"])
    return (costs.idle_cost_per_lane_h * idle_h - net) / policies["tasks"]


def _cheapest(curves: list[dict[str, Any]], ratio: str) -> dict[str, Any] | None:
    points = [
        {"policy": policy, "level": level, "cost_per_task": cost}
        for curve in curves
        for policy, level, cost in zip(
            *(curve["policies"], curve["levels"], curve["cost_per_task"][ratio]), strict=True
        )
    ]
    return min(points, key=lambda point: point["cost_per_task"], default=None)

"""Numbers about the plan: windows, refusals, headroom."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from models.upgrades.headroom import service_loads
from models.upgrades.plan import RolloutPlan, plan_rules
from models.upgrades.report.inputs import ReportInputs

_KEPT = ["task", "host", "domain", "service", "type", "lane", "outcome"]


def window_figures(outcome: pd.DataFrame) -> list[dict[str, Any]]:
    """One entry per placed task, by window, domain, lane and start.

    Hours count from the opening of the window: start_h, reserved_end_h, p50_end_h and
    p90_end_h (forecast), real_start_h and real_end_h (None if it never started);
    duration_h is how long the task really takes.
    """
    frame = outcome.sort_values(["window_open_s", "domain", "lane", "start_s"], kind="stable")
    open_s = frame["window_open_s"]
    planned_s = frame["start_s"] - open_s
    hours = {
        "start_h": planned_s,
        "reserved_end_h": frame["end_s"] - open_s,
        "p50_end_h": planned_s + frame["p50_s"],
        "p90_end_h": planned_s + frame["p90_s"],
        "real_start_h": frame["real_start_s"] - open_s,
        "real_end_h": frame["real_end_s"] - open_s,
        "duration_h": frame["duration_s"],
    }
    columns = {name: (seconds.astype(float) / 3_600).round(4) for name, seconds in hours.items()}
    return records(frame[_KEPT].assign(window_open_s=open_s, **columns))


def refusal_figures(plan: RolloutPlan) -> dict[str, int]:
    """Tasks without a place, by reason."""
    counts = plan.refusals["reason"].value_counts()
    return {str(reason): int(count) for reason, count in counts.items()}


def headroom_figures(inputs: ReportInputs) -> list[dict[str, Any]]:
    """Hosts down of each service, least headroom first.

    Each entry: domain, service, cap, peak, above_cap_min, and the step function hours (since
    the first window opened) and down (hosts from each hour to the next).
    """
    rules = plan_rules(inputs.history, inputs.split, inputs.config)
    first_s = float(rules.opens[0])
    return [
        {
            "domain": load.domain,
            "service": load.service,
            "cap": load.cap,
            "peak": load.peak,
            "above_cap_min": round(load.above_cap_s / 60, 2),
            "hours": ((load.at_s - first_s) / 3_600).round(4).tolist(),
            "down": [int(count) for count in load.down],
        }
        for load in service_loads(inputs.outcome.frame, rules.caps)
    ]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as one JSON object per row; not measured is None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows

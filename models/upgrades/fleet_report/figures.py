"""All numbers of the report as plain JSON values."""

from __future__ import annotations

from typing import Any

import pandas as pd

from models.upgrades.fleet_report.inputs import FleetReportInputs
from models.upgrades.fleet_report.timeline import (
    burn_down_figures,
    cap_risk_figures,
    lane_figures,
    service_figures,
)
from models.upgrades.fleet_report.waves import wave_figures
from models.upgrades.plan import RolloutPlan
from models.upgrades.report.plan_figures import records, refusal_figures
from models.upgrades.rollout.summary import cap_warning, solver_words

MOST_EXAMPLES = 3
MOST_MOVED = 50


def fleet_figures(inputs: FleetReportInputs) -> dict[str, Any]:
    """Return every number that the page shows; the refused tasks one by one are not in it."""
    plan, fleet, config = inputs.plan, inputs.fleet, inputs.config
    return {
        "policy": plan.policy,
        "solver": plan.solver,
        "solver_status": plan.solver_status,
        "solver_words": solver_words(plan, config),
        "plan_s": plan.plan_s,
        "horizon_days": config.horizon_days,
        "soak_s": config.soak_s,
        "inputs_hash": plan.inputs_hash,
        "placed": len(plan.assignments),
        "refused": len(plan.refusals),
        "objective": plan.objective,
        "bound": plan.bound,
        "lanes": lane_figures(plan, fleet),
        "waves": wave_figures(plan, config),
        "burn_down": burn_down_figures(plan, fleet, config),
        "services": service_figures(plan, fleet),
        "cap_risk": cap_risk_figures(plan),
        "cap_warning": cap_warning(plan, config),
        "refusals": refusal_figures(plan),
        "examples": example_figures(plan),
        "changes": change_figures(inputs),
    }


def example_figures(plan: RolloutPlan) -> dict[str, list[dict[str, Any]]]:
    """Sentences of each reason that are said most often, with one task of each.

    Each entry: task, host, detail, and tasks: how many share the sentence.
    """
    found = {}
    for reason, group in plan.refusals.groupby("reason", sort=False):
        counts = group["detail"].value_counts().head(MOST_EXAMPLES)
        firsts = group.drop_duplicates("detail").set_index("detail")
        found[str(reason)] = [
            {"task": str(task), "host": str(host), "detail": str(detail), "tasks": int(count)}
            for (detail, count), task, host in zip(
                counts.items(),
                firsts["task"].reindex(counts.index),
                firsts["host"].reindex(counts.index),
                strict=True,
            )
        ]
    return found


def change_figures(inputs: FleetReportInputs) -> dict[str, Any]:
    """What differs from the last plan: words, counts, and some of the moved tasks."""
    difference = inputs.difference
    if difference is None:
        return {"words": inputs.changes, "counts": None, "moved": []}
    tables = {"moved": difference.moved, "added": difference.added, "removed": difference.removed}
    columns = ["task", "host", "domain", "start_s_before", "start_s"]
    moved = difference.moved.reindex(columns=columns).head(MOST_MOVED)
    return {
        "words": inputs.changes,
        "counts": {**{name: len(t) for name, t in tables.items()}, "same": difference.same},
        "moved": records(pd.DataFrame(moved)),
    }

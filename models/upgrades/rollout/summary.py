"""The figures of a plan of a fleet."""

from __future__ import annotations

import pandas as pd

from models.upgrades.plan import RolloutPlan


def refusal_counts(plan: RolloutPlan) -> pd.DataFrame:
    """Count the tasks without a place: reason, tasks, most first."""
    counts = plan.refusals["reason"].value_counts()
    return pd.DataFrame({"reason": counts.index.astype(str), "tasks": counts.to_numpy()})


def rollout_metrics(plan: RolloutPlan) -> dict[str, float | None]:
    """Return flat figures for the tracker; not measured is None."""
    gap = None
    if plan.objective is not None and plan.bound:
        gap = 1 - plan.objective / plan.bound
    return {
        "plan/placed": len(plan.assignments),
        "plan/refused": len(plan.refusals),
        "plan/objective": plan.objective,
        "plan/bound": plan.bound,
        "plan/gap": gap,
        "plan/p_cap_breach": None
        if plan.cap_risk is None
        else float(plan.cap_risk["p_breach"].max() if len(plan.cap_risk) else 0.0),
        **{
            f"plan/refused/{row['reason'].replace(' ', '_')}": row["tasks"]
            for row in refusal_counts(plan).to_dict("records")
        },
    }

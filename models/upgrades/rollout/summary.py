"""The figures of a plan of a fleet."""

from __future__ import annotations

import pandas as pd

from models.upgrades.plan import RolloutPlan
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.scenarios import breach_limit

MOST_NAMED = 3


def refusal_counts(plan: RolloutPlan) -> pd.DataFrame:
    """Count the tasks without a place: reason, tasks, most first."""
    counts = plan.refusals["reason"].value_counts()
    return pd.DataFrame({"reason": counts.index.astype(str), "tasks": counts.to_numpy()})


def cap_warning(plan: RolloutPlan, config: RolloutConfig) -> str | None:
    """Say which services are likely to have more hosts down than their cap; None: none is."""
    if plan.cap_risk is None:
        return None
    worst = plan.cap_risk.groupby("service")["p_breach"].max()
    limit = breach_limit(config.cap_breach_eps)
    likely = worst[worst > limit].sort_values(ascending=False, kind="stable")
    if likely.empty:
        return None
    named = ", ".join(f"{name} {share:.0%}" for name, share in likely.head(MOST_NAMED).items())
    more = ", ..." if len(likely) > MOST_NAMED else ""
    verb, their = ("service is", "its") if len(likely) == 1 else ("services are", "their")
    way_out = (
        "set rollout.cap_breach_eps=0.05 to make room"
        if config.cap_breach_eps is None
        else f"even with rollout.cap_breach_eps={config.cap_breach_eps:g}"
    )
    return (
        f"{len(likely)} {verb} likely to have more hosts down than {their} cap ({named}{more} in "
        f"the worst night); {way_out}"
    )


def solver_words(plan: RolloutPlan, config: RolloutConfig) -> str:
    """Name who placed the tasks; where it did not do all it was asked, its status and a way out."""
    if plan.solver_status == "timed out":
        return (
            f"{plan.solver}, {plan.solver_status}: raise rollout.solver_budget_s above "
            f"{config.solver_budget_s:g}; the bound is loose where waves wait, so a gap to it "
            "need not mean a better plan"
        )
    if plan.solver_status == "failed":
        return f"{plan.solver}, {plan.solver_status}"
    return plan.solver


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

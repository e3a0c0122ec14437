"""Figures of a look at the forecasts, for the tracker and for people."""

from __future__ import annotations

from models.figures import Figure, FlowSummary
from models.upgrades.monitor.verdict import Action
from models.upgrades.monitor.watch import Watch
from models.upgrades.monitor.words import next_step


def monitor_metrics(found: Watch) -> dict[str, float | None]:
    """Figures under `monitor/`; the last period's coverage and loss, costs, broken rules."""
    last = found.periods.iloc[-1]
    names = [name for name in found.periods.columns if name not in ("from_s", "until_s")]
    broken = [rule for rule in found.verdict.rules if rule.is_broken]
    return {
        **{f"monitor/last/{name.replace('@', '_')}": _number(last[name]) for name in names},
        "monitor/promised_cost_per_task": found.promised.per_task,
        "monitor/cost_per_task": found.spent.per_task,
        "monitor/promised_cancellation_rate": found.promised.metrics.cancellation_rate,
        "monitor/cancellation_rate": found.spent.metrics.cancellation_rate,
        "monitor/promised_idle_min": found.promised.metrics.idle_min,
        "monitor/idle_min": found.spent.metrics.idle_min,
        "monitor/greatest_psi": float(found.drift["psi"].max()),
        "monitor/broken_rules": float(len(broken)),
        "monitor/severity": float(list(Action).index(found.verdict.action)),
    }


def monitor_summary(found: Watch) -> FlowSummary:
    """Say the verdict and what to do next; beside the figures stands what the plan promised."""
    level = 0.9
    last = found.periods.iloc[-1]
    promised, spent = found.promised.metrics, found.spent.metrics
    # Said first: a verdict about the fallback says nothing about the forecaster that was chosen.
    stands_in = f"{found.note.upper()[:1]}{found.note[1:]}. " if found.is_fallback else ""
    onward = next_step(found.verdict.action, is_fallback=found.is_fallback)
    return FlowSummary(
        did=f"{stands_in}Judged {found.policy}: {found.verdict.words}{onward}",
        baseline="the promise of the select part; nominal coverage",
        figures=(
            Figure("coverage at 0.9, last period", last["coverage@0.9"], level, "{:.1%}"),
            Figure("cost per upgrade", found.spent.per_task, found.promised.per_task, "{:.2f}"),
            Figure(
                "cancelled share of starts",
                *(spent.cancellation_rate or 0.0, promised.cancellation_rate, "{:.1%}"),
            ),
            Figure("greatest stability index", float(found.drift["psi"].max()), 0.25, "{:.2f}"),
        ),
    )


def _number(value: object) -> float | None:
    return None if value is None or value != value else float(value)  # type: ignore[arg-type]

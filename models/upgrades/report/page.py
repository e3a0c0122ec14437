"""One HTML file that needs no network: words, charts, tables and caveats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from string import Template
from typing import Any

import pandas as pd

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.bootstrap import Interval
from models.upgrades.cells import CLAIRVOYANT, EXISTING, STRONG_RULE, STRONG_RULE_INFORMED
from models.upgrades.config import UpgradeConfig
from models.upgrades.plan import RolloutPlan
from models.upgrades.replay import PlanOutcome
from models.upgrades.report.charts import (
    calibration_chart,
    frontier_chart,
    refusals_chart,
    windows_chart,
)
from models.upgrades.report.figures import figures

CAVEATS = (
    "LANL node outages (1995-2004) stand in for software upgrades; no open data set of "
    "upgrade durations is known. The planned rows are the nearest true data.",
    "For failures the type (cause group) was written after the repair: hindsight that a "
    "dispatcher would not have. Planned tasks carry their work order; their own lines are "
    "shown apart and are too few for a claim.",
    "Definitions of utilisation, scheduled, completed and cancelled are ours. The paper's are "
    "not public, so no line here claims parity with it.",
    "The replay assumes that a task needs the same time whenever it runs. An informed retry "
    "(what an aborted start has taught) profits from that; compare it with blind rows. The "
    "idea of informed retries came from looking at the whole trace, the test part included.",
    "A whole day's window serves few LANL outages: most domains need less than their one "
    "lane, so utilisation is low for every policy, the oracle included.",
    "Coverage is marginal over tasks, not a promise for one task. Intervals are a paired "
    "block bootstrap by week.",
)
_POLICY_COLUMNS = {
    "policy": "policy",
    "scheduled": "started",
    "completed": "completed",
    "cancelled": "cancelled",
    "cancellation_rate": "cancel rate",
    "refused": "refused",
    "utilisation": "utilisation",
    "waste": "waste",
    "cost_per_task": "cost / task",
    "x_completed": "x completed",
    "x_cancellation": "x cancel rate",
    "regret": "regret",
}
_SHARES = frozenset({"cancellation_rate", "utilisation", "waste", "regret"})


def render_report(
    result: BenchmarkResult, plan: RolloutPlan, outcome: PlanOutcome, config: UpgradeConfig
) -> str:
    """Render the report as one HTML document with plotly inlined once.

    Args:
        result: Tables of the test part; see `benchmark.summarise`.
        plan: The rollout plan of the selected policy.
        outcome: What became of the plan; see `simulate_plan`.
        config: The config of all of them.
    """
    from plotly.offline import get_plotlyjs

    numbers = figures(result, plan, outcome)
    window_h = config.window_s / 3_600
    return _PAGE.substitute(
        plotly=get_plotlyjs(),
        headline=escape(headline(result)),
        tiles=_tiles(result),
        plan_words=escape(_plan_words(plan, outcome, config)),
        windows=_chart(windows_chart(numbers["windows"], window_h)),
        refusals=_chart(refusals_chart(numbers["refusals"])),
        refused=_table(plan.refusals.drop(columns=["row", "service"]), {}),
        calibration=_chart(calibration_chart(numbers["calibration"])),
        forecasts=_table(result.forecasts, {}),
        frontier=_chart(frontier_chart(numbers["frontier"])),
        policies=_policy_table(result.policies),
        selection=escape(_selection_words(result, config)),
        ablation=_table(_ablation_lines(result), {}),
        planned=_table(_planned_lines(result), {}),
        caveats="".join(f"<li>{escape(caveat)}</li>" for caveat in CAVEATS),
        inputs=escape(f"inputs {plan.inputs_hash[:16]} · seed {config.seed}"),
    )


def headline(result: BenchmarkResult) -> str:
    """Say in one sentence what the selected policy did, good or bad."""
    selected = _row(result.policies, result.selection.policy.label)
    text = (
        f"{selected['policy']} completed {selected['completed']:,} of {selected['tasks']:,} tasks "
        f"and cancelled {_percent(selected['cancellation_rate'])} of its starts"
    )
    for policy, what in ((EXISTING, "the type-P95 calendar"), (STRONG_RULE, "body-P95 online")):
        other = _row(result.policies, policy.label)
        if other is not None and policy != result.selection.policy:
            text += (
                f"; {what} completed {other['completed']:,} "
                f"and cancelled {_percent(other['cancellation_rate'])}"
            )
    return text + "."


def _row(table: pd.DataFrame, label: str) -> Any:
    rows = table[table["policy"] == label].to_dict("records")
    return rows[0] if rows else None


def _tiles(result: BenchmarkResult) -> str:
    tiles = []
    for reference, ratios in result.headline.items():
        for measure, interval in ratios._asdict().items():
            if interval.value is None or measure == "scheduled":
                continue
            verdict = _verdict(measure, interval)
            tiles.append(
                f"<div class='tile {verdict.split()[0]}'><b>x{interval.value:.2f}</b>"
                f"<span>{measure.replace('_', ' ')}: {verdict}</span>"
                f"<small>against {escape(reference)}<br>95 % interval "
                f"{interval.low:.2f} to {interval.high:.2f}</small></div>"
            )
    return "".join(tiles)


def _verdict(measure: str, interval: Interval) -> str:
    """Say what a ratio means; an interval that holds 1 decides nothing."""
    if interval.low is None or interval.high is None or interval.low <= 1 <= interval.high:
        return "no clear difference"
    more_is_better = measure == "completed"
    return "better" if (interval.low > 1) == more_is_better else "worse"


def _plan_words(plan: RolloutPlan, outcome: PlanOutcome, config: UpgradeConfig) -> str:
    metrics = outcome.metrics
    breach_min = outcome.cap_breach_s / 60
    return (
        f"{metrics.tasks} tasks of the first {config.horizon_days} days: {len(plan.assignments)} "
        f"placed, {len(plan.refusals)} refused with a reason. Kept to, the plan completed "
        f"{metrics.completed} and cancelled {metrics.cancelled}; service caps were exceeded for "
        f"{breach_min:.0f} minutes in all because tasks overran their reservations."
    )


def _selection_words(result: BenchmarkResult, config: UpgradeConfig) -> str:
    costs = config.costs
    return (
        f"{len(result.selection.table)} candidates competed on {result.sizes['select']:,} tasks "
        f"before the test part. A completed upgrade is worth {costs.completed_value:g}, a "
        f"cancelled start costs {costs.cancel_cost:g}, an idle lane hour "
        f"{costs.idle_cost_per_lane_h:g}. The cheapest was chosen, ties to the simpler: "
        f"{result.selection.policy.label}."
    )


def _ablation_lines(result: BenchmarkResult) -> pd.DataFrame:
    lines = []
    for change, ratios in result.ablation.items():
        line = {"change": change}
        for measure, (value, low, high) in ratios._asdict().items():
            name = f"x {measure.replace('_', ' ')}"
            line[name] = "-" if value is None else f"{value:.2f} ({low:.2f} to {high:.2f})"
        lines.append(line)
    return pd.DataFrame(lines)


def _planned_lines(result: BenchmarkResult) -> pd.DataFrame:
    references = (EXISTING, STRONG_RULE, STRONG_RULE_INFORMED, CLAIRVOYANT)
    wanted = [result.selection.policy.label, *(policy.label for policy in references)]
    lines = result.planned[result.planned["policy"].isin(wanted)]
    return lines.assign(cancellation_rate=lines["cancelled"] / lines["scheduled"])


def _policy_table(policies: pd.DataFrame) -> str:
    numbered = policies.reset_index(drop=True)
    numbered.insert(0, "#", range(1, len(numbered) + 1))
    marks = {
        **dict.fromkeys(numbered.index[numbered["is_selected"]], "selected"),
        **dict.fromkeys(numbered.index[numbered["policy"] == EXISTING.label], "reference"),
        **dict.fromkeys(numbered.index[numbered["policy"] == STRONG_RULE.label], "reference"),
    }
    return _table(numbered[["#", *_POLICY_COLUMNS]], marks, _POLICY_COLUMNS)


def _table(
    table: pd.DataFrame, marks: Mapping[Any, str], names: Mapping[str, str] | None = None
) -> str:
    head = "".join(
        f"<th class='{'word' if pd.api.types.is_string_dtype(table[column]) else ''}'>"
        f"{escape((names or {}).get(column, column))}</th>"
        for column in table.columns
    )
    body = "".join(
        f"<tr class='{marks.get(index, '')}'>{''.join(_cells(table.columns, record))}</tr>"
        for index, record in zip(table.index, table.itertuples(index=False, name=None), strict=True)
    )
    return f"<div class='scroll'><table><tr>{head}</tr>{body}</table></div>"


def _cells(columns: Iterable[str], record: Sequence[Any]) -> list[str]:
    return [
        f"<td class='{'word' if isinstance(value, str) else ''}'>{_value(column, value)}</td>"
        for column, value in zip(columns, record, strict=True)
    ]


def _value(column: str, value: Any) -> str:
    if value is None or value != value:
        return "-"
    if column in _SHARES:
        return _percent(value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _percent(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.1%}"


def _chart(figure: Any) -> str:
    html: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"displayModeBar": False}
    )
    return html


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Upgrade plan</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 20px;max-width:40em}
h2{font-size:18px;margin:0 0 6px} p{max-width:46em;margin:0 0 12px}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:14px}
.tile.better{border-left:5px solid #009e73} .tile.worse{border-left:5px solid #d55e00}
.tile.no{border-left:5px solid #9fb3c8}
.tile b{display:block;font-size:25px} .tile span{display:block;font-weight:600}
small,.muted{color:#616e7c} .scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap}
th{color:#616e7c;font-weight:600} .word{text-align:left}
tr.selected td{background:#e3f4ee;font-weight:600} tr.reference td{background:#fdf0e3}
summary{cursor:pointer;font-weight:600;margin:8px 0}
</style><script>$plotly</script></head><body><main>
<p class="muted">Upgrade plan · Loomworks</p><h1>$headline</h1>
<div class="tiles">$tiles</div>
<section><h2>The plan, and what really happened</h2><p>$plan_words</p>
<p class="muted">One row per task, by day, domain and lane; the first 120 are drawn. Pale:
reserved. Solid: how long it really took. Line: forecast end from P50 to P90. Dotted: the window
closes.</p>$windows</section>
<section><h2>Tasks without a place</h2>$refusals
<details><summary>Every refused task</summary>$refused</details></section>
<section><h2>Does the forecast keep its word?</h2>
<p>Share of test tasks that ended within each forecast quantile. Dotted lines: before rolling
conformal margins.</p>$calibration
<details><summary>Pinball loss (log minutes) and coverage</summary>$forecasts</details></section>
<section><h2>Completed against cancelled</h2>
<p>$selection Squares keep a calendar, circles start work as lanes free; filled circles learn
from aborted starts. Numbers refer to the table; up and left is better.</p>$frontier
<p class="muted">Green line: selected. Orange lines: the references. "x" columns divide by
type-p95 calendar; regret is the share of the clairvoyant oracle's net value that is missed.</p>
$policies</section>
<section><h2>What each part brings</h2><p>One thing changed, the rest equal; 95 % intervals in
brackets. Below 1 is better for the cancellation rate.</p>$ablation</section>
<section><h2>Planned tasks alone</h2><p>Their type is the work order, known beforehand. The
numbers are small and the tasks come in batches.</p>$planned</section>
<section><h2>What to keep in mind</h2><ul>$caveats</ul><p class="muted">$inputs</p></section>
</main></body></html>
""")

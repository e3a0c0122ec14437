"""One HTML file that needs no network: words, charts, tables and caveats."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

from models.upgrades.benchmark import BenchmarkResult
from models.upgrades.plan import RolloutPlan
from models.upgrades.report import forecast_charts, plan_charts, policy_charts, tables, words
from models.upgrades.report.chart_style import ROLE_COLOURS, as_html
from models.upgrades.report.inputs import ReportInputs
from models.upgrades.report.running import running_chart


def render_report(inputs: ReportInputs, numbers: Mapping[str, Any]) -> str:
    """Render the report as one HTML document with plotly inlined once.

    Args:
        inputs: What the report is about.
        numbers: `figures(inputs)`: all that the charts draw.
    """
    from plotly.offline import get_plotlyjs

    result, plan, config = inputs.result, inputs.plan, inputs.config
    says = {
        "headline": words.headline(result),
        "plan_words": words.plan_words(plan, inputs.outcome, config),
        "headroom_words": words.headroom_words(numbers, inputs.outcome),
        "selection": words.selection_words(result, config),
        "shap_words": words.shap_words(result, numbers["shap"]),
        "inputs": f"inputs {plan.inputs_hash[:16]} · seed {config.seed}",
    }
    shows = {
        "no_place": _no_place(plan, numbers),
        "headroom_table": tables.headroom_table(numbers["headroom"]),
        "forecasts": tables.html_table(result.forecasts, {}),
        "policies": tables.policy_table(result.policies),
        "equal_completions": tables.equal_completions_table(numbers["equal_completions"]),
        "candidates": tables.candidate_table(numbers["candidates"]),
        "cheapest": tables.cheapest_table(numbers["costs"]),
        "ablation": tables.ablation_table(result),
        "planned": tables.planned_table(result),
    }
    return _PAGE.substitute(
        plotly=get_plotlyjs(),
        tiles=_tiles(result),
        caveats="".join(f"<li>{escape(said)}</li>" for said in words.caveats(inputs.history)),
        shap=_shap(numbers["shap"]),
        running=_running(numbers["running"]),
        **{name: escape(text) for name, text in says.items()},
        **{name: as_html(chart) for name, chart in _charts(inputs, numbers).items()},
        **shows,
    )


def _charts(inputs: ReportInputs, numbers: Mapping[str, Any]) -> dict[str, Any]:
    costs = numbers["costs"]
    roles = {line["policy"]: line["role"] for line in costs["references"]}
    colours = {label: ROLE_COLOURS[role] for label, role in roles.items()}
    forecaster = inputs.result.selection.policy.forecaster
    return {
        "windows": plan_charts.windows_chart(numbers["windows"], inputs.config.window_s / 3_600),
        "headroom": plan_charts.headroom_chart(numbers["headroom"]),
        "frontier": policy_charts.frontier_chart(numbers["frontier"], roles),
        "level_costs": policy_charts.level_costs_chart(costs),
        "ratio_costs": policy_charts.ratio_costs_chart(costs),
        "burn_down": plan_charts.burn_down_chart(numbers["burn_down"], colours),
        "calibration": forecast_charts.calibration_chart(numbers["calibration"], forecaster),
        "reliability": forecast_charts.reliability_chart(numbers["reliability"]),
        "tail": forecast_charts.tail_chart(numbers["tail"]),
    }


def _running(running: Mapping[str, Any] | None) -> str:
    if running is None:
        return ""
    return (
        "<h3>Once it runs</h3><p>How to read it: the chance that a task still ends within a whole "
        "window, given how long it runs already; dashed is the forecast made before it started, "
        "solid what happened to those that ran that long. Point at a line for the time that the "
        "rest needs. Where the chance is small, a person may end it early: no policy does, it did "
        "not pay.</p>" + as_html(running_chart(running))
    )


def _shap(shap: Mapping[str, Any] | None) -> str:
    if shap is None:
        return ""
    return (
        as_html(forecast_charts.importance_chart(shap))
        + f"<p>{escape(words.example_words(shap['example']))}</p>"
        + as_html(forecast_charts.waterfall_chart(shap["example"]))
    )


def _no_place(plan: RolloutPlan, numbers: Mapping[str, Any]) -> str:
    if not len(plan.refusals):
        return "<p>None: every task of the plan has a place.</p>"
    chart = as_html(plan_charts.refusals_chart(numbers["refusals"]))
    refused = tables.html_table(plan.refusals.drop(columns=["row", "service"]), {})
    return (
        "<p>How to read it: tasks of the plan that were refused, by reason.</p>"
        f"{chart}<details><summary>Every refused task</summary>{refused}</details>"
    )


def _tiles(result: BenchmarkResult) -> str:
    mine = words.policy_line(result.policies, result.selection.policy.label)
    tiles = []
    for reference, ratios in result.headline.items():
        other = words.policy_line(result.policies, reference)
        for measure, interval in ratios._asdict().items():
            if interval.value is None or measure == "scheduled":
                continue
            said = words.verdict(measure, interval, mine, other)
            tiles.append(
                f"<div class='tile {said.split()[0]}'><b>x{interval.value:.2f}</b>"
                f"<span>{measure.replace('_', ' ')}: {escape(said)}</span>"
                f"<small>against {escape(reference)}<br>95 % interval "
                f"{interval.low:.2f} to {interval.high:.2f}</small></div>"
            )
    return "".join(tiles)


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Upgrade plan</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 20px;max-width:40em}
h2{font-size:18px;margin:0 0 6px} h3{font-size:15px;margin:20px 0 4px}
p{max-width:52em;margin:0 0 12px}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:14px}
.tile.better{border-left:5px solid #009e73} .tile.worse{border-left:5px solid #d55e00}
.tile.no{border-left:5px solid #9fb3c8}
.tile b{display:block;font-size:25px} .tile span{display:block;font-weight:600}
small,.muted{color:#616e7c} .scroll{overflow:auto;max-height:660px}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap}
th{color:#616e7c;font-weight:600;position:sticky;top:0;background:#fff} .word{text-align:left}
tr.selected td{background:#e3f4ee;font-weight:600} tr.clear td{background:#e3f4ee}
tr.reference td{background:#fdf0e3}
summary{cursor:pointer;font-weight:600;margin:8px 0}
</style><script>$plotly</script></head><body><main>
<p class="muted">Upgrade plan · Loomworks</p><h1>$plan_words</h1>
<section><h2>What is planned, and why</h2><p>$selection</p>
<p>How to read it: one row per task, by window, domain and lane. Pale: reserved. Solid: how long
it really took. Line: forecast end from P50 to P90. Dotted: the window closes.</p>$windows
<details><summary>The policies that competed</summary><p>How to read it: the cheapest candidates of
the select part; one whose "more than cheapest" is below its standard error cannot be told from the
cheapest.</p>$candidates</details></section>
<section><h2>Tasks without a place</h2>$no_place</section>
<section><h2>What to expect</h2><p>On the test part, which neither fitted nor chose the policy:
$headline</p><div class="tiles">$tiles</div>
<h3>Planned tasks alone</h3><p>Their type is the work order, known beforehand. The numbers are small
and the tasks come in batches.</p>$planned</section>
<section><h2>Completed against cancelled</h2>
<p>How to read it: up and left is better. A line is one forecaster at rising levels, online
(solid: retries that learn from the abort; dotted: blind). Squares keep a calendar, diamonds
fill its holes, circles start work as lanes free, triangles the shortest of it first; filled markers
learn from aborts. Point at a
marker for its policy, click in the legend to hide a family.</p>$frontier
<details><summary>All policies on the test part</summary><p class="muted">Green line: selected.
Orange lines: the references. "x" columns divide by type-p95 calendar; regret is the share of the
clairvoyant oracle's net value that is missed.</p>$policies</details></section>
<section><h2>Cancellations at equal completions</h2>
<p>How to read it: each forecaster's level is moved until it completes as much as the reference
(times the share held); the ratio of cancelled shares is what is left to compare. Below 1 is
better; green lines are clearly so (the 95 % interval lies below 1). "Reached: no" means that the
forecaster cannot complete that much and stands at its most.</p>$equal_completions</section>
<section><h2>Does the forecast keep its word?</h2>
<p>How to read it: of the tasks promised to end in time with 90 %, 90 % should; a line below the
diagonal promises too much. Dotted lines: before conformal margins. More forecasters appear on a
click in the legend.</p>$calibration
<h3>The chosen forecaster, overall and by type</h3>
<p>How to read it: a bar that misses the diagonal is a promise not kept for that type. Bars are
95 % intervals as if tasks were independent; they come in batches, so the truth is
wider.</p>$reliability
<details><summary>Pinball loss (log minutes) and coverage</summary>$forecasts</details></section>
<section><h2>What other levels and prices would cost</h2>
<p>How to read it: the lowest point of a curve is the level that would have been cheapest at that
price of a cancellation; the star marks it. Read in hindsight on the test part: nothing was
chosen by it.</p>$level_costs$cheapest
<h3>Over the price of a cancellation</h3><p>How to read it: the lowest line wins at that price.
Solid and dotted lines are each forecaster at its best level for the price; dashed lines keep
one policy at all prices.</p>$ratio_costs</section>
<section><h2>Stragglers</h2>
<p>How to read it: the share of tasks that last longer than a time, both axes logarithmic; a
straight line is a heavy tail. Where the dashed forecast lies below the line, stragglers are
underestimated; what lies right of the dotted window can never end in one.</p>$tail
$running</section>
<section><h2>What the forecast looks at</h2><p>$shap_words</p>$shap</section>
<section><h2>Work left, day by day</h2>
<p>How to read it: tasks of the test part that are not done at the end of each day; nobody can be
below the grey area, which is work not requested yet. What stays at the end was refused, given up
or never fitted.</p>$burn_down</section>
<section><h2>Headroom of the services</h2><p>$headroom_words</p>
<p>How to read it: blue are hosts of the service down at one time when the plan met the real
durations; where it passes the dashed cap, the service level is broken.</p>$headroom
<details><summary>Every service</summary>$headroom_table</details></section>
<section><h2>What each part brings</h2><p>How to read it: one thing changed, the rest equal; 95 %
intervals in brackets. Below 1 is better for the cancelled share.</p>$ablation</section>
<section><h2>What to keep in mind</h2><ul>$caveats</ul><p class="muted">$inputs</p></section>
</main></body></html>
""")

"""One HTML file that needs no network: words, charts, tables, search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from string import Template
from typing import Any

import pandas as pd

from models.upgrades.fleet_report import charts, words
from models.upgrades.fleet_report.inputs import FleetReportInputs
from models.upgrades.fleet_report.scripts import SCRIPT
from models.upgrades.fleet_report.search import (
    MOST_SEARCH_BYTES,
    packed,
    packed_placed,
    packed_refusals,
)
from models.upgrades.fleet_report.waves import MOST_RELEASES, wave_names
from models.upgrades.report.tables import html_table


def render_fleet_report(inputs: FleetReportInputs, numbers: Mapping[str, Any]) -> str:
    """Render the report as one HTML document, below 5 MB for 100,000 hosts.

    Args:
        inputs: What the report is about.
        numbers: `fleet_figures(inputs)`: all that the charts draw.
    """
    from plotly.offline import get_plotlyjs

    names = wave_names(inputs.config)
    releases = list(dict.fromkeys(wave["release"] for wave in numbers["waves"]))
    shown = [wave for wave in numbers["waves"] if wave["release"] in releases[:MOST_RELEASES]]
    drawn = {
        "lanes": charts.lanes_chart(numbers["lanes"], names),
        "waves": charts.waves_chart(shown, names),
        "burn_down": charts.burn_down_chart(numbers["burn_down"]),
        "services": charts.services_chart(numbers["services"]),
        "refusals": charts.refusals_chart(numbers["refusals"]),
    }
    has_risk = bool(numbers["cap_risk"]) and numbers["cap_risk"][0]["p_breach"] > 0
    if has_risk:
        drawn["cap_risk"] = charts.cap_risk_chart(numbers["cap_risk"])
    documents = {f"chart-{name}": json.loads(chart.to_json()) for name, chart in drawn.items()}
    refusals, n_kept = packed_refusals(inputs.plan.refusals)
    placed, n_found = packed_placed(
        inputs.plan.assignments, MOST_SEARCH_BYTES - len(refusals), inputs.plan.plan_s
    )
    says = {
        "headline": words.headline(numbers),
        "plan_words": words.plan_words(numbers),
        "lane_words": words.lane_words(numbers["lanes"]),
        "wave_words": _wave_words(len(releases)),
        "burn_words": f"{words.full_words(numbers).capitalize()}.",
        "service_words": words.service_words(numbers["services"], charts.MOST_SERVICES),
        "risk_words": words.risk_words(numbers["cap_risk"], numbers["cap_warning"]),
        "search_words": words.search_words(n_kept, numbers["refused"], n_found, numbers["placed"]),
        "change_words": f"Against the last plan: {numbers['changes']['words']}.",
        "inputs": f"inputs {numbers['inputs_hash'][:16]} · plan.json and report.json hold the "
        "same numbers",
    }
    return _PAGE.substitute(
        plotly=packed(get_plotlyjs()),
        charts=packed(json.dumps(documents, separators=(",", ":"))),
        packed_refusals=refusals,
        packed_placed=placed,
        script=SCRIPT,
        tiles=_tiles(numbers),
        wave_table=_wave_table(shown),
        examples=_examples(numbers["examples"], numbers["refusals"]),
        moved=_moved(numbers["changes"]["moved"]),
        **{name: escape(text) for name, text in says.items()},
        **{f"chart_{name}": _place(name, chart) for name, chart in drawn.items()},
        **({} if has_risk else {"chart_cap_risk": ""}),
    )


def _place(name: str, chart: Any) -> str:
    return f"<div id='chart-{name}' style='height:{int(chart.layout.height)}px'></div>"


def _tiles(numbers: Mapping[str, Any]) -> str:
    burn, services = numbers["burn_down"], numbers["services"]
    hosts_done = burn["n_hosts"] - burn["hosts_left"][-1]
    at_cap = sum(load["peak"] >= load["cap"] for load in services)
    full = "-" if burn["days_to_full"] is None else f"{burn['days_to_full']:,.0f}"
    never = f"{burn['n_never']:,} never" if burn["n_never"] else "at the pace of this plan"
    likely = sum(risk["windows"] > 0 for risk in numbers["cap_risk"] or [])
    tiles = [
        ("better", f"{numbers['placed']:,}", "upgrades placed", f"{burn['per_day']:,.0f} a day"),
        ("worse", f"{numbers['refused']:,}", "without a place", "reasons below"),
        ("better", f"{hosts_done:,}", "hosts done", f"of {burn['n_hosts']:,} with work"),
        ("no", full, "days to full fleet", never),
        ("no", f"{at_cap:,}", "services at their cap", f"of {len(services):,} touched"),
    ]
    if numbers["cap_warning"]:
        worst = numbers["cap_risk"][0]
        more = f"{worst['service']} {worst['p_breach']:.0%} in its worst night"
        tiles.append(("worse", f"{likely:,}", "services likely above their cap", more))
    return "".join(
        f"<div class='tile {kind}'><b>{value}</b><span>{what}</span><small>{more}</small></div>"
        for kind, value, what, more in tiles
    )


def _wave_words(n_releases: int) -> str:
    said = (
        "How to read it: canaries first, then rising shares of the hosts of a release; the next "
        "wave starts when the one before it has ended and soaked (thin bar)."
    )
    if n_releases > MOST_RELEASES:
        said += f" The first {MOST_RELEASES} of {n_releases} releases are shown."
    return said


def _wave_table(waves: list[Mapping[str, Any]]) -> str:
    rows = [
        {
            "release": wave["release"],
            "wave": "none" if wave["wave"] is None else f"{wave['wave']}, {wave['name']}",
            "placed": wave["placed"],
            "without a place": wave["waiting"],
            "first start": words.moment(wave["start_s"]),
            "last end": words.moment(wave["end_s"]),
            "soaked": words.moment(wave["soaked_s"]),
        }
        for wave in waves
    ]
    return html_table(pd.DataFrame(rows), {}) if rows else "<p>No task has a release.</p>"


def _examples(examples: Mapping[str, list[Mapping[str, Any]]], counts: Mapping[str, int]) -> str:
    parts = []
    for reason, count in counts.items():
        lines = "".join(
            f"<li>{escape(one['detail'])} <span class='muted'>({escape(one['task'])} on "
            f"{escape(one['host'])}; {one['tasks']:,} tasks have this reason)</span></li>"
            for one in examples.get(reason, [])
        )
        parts.append(f"<h3>{escape(reason)}: {count:,}</h3><ul>{lines}</ul>")
    return "".join(parts) or "<p>Every task has a place.</p>"


def _moved(moved: list[Mapping[str, Any]]) -> str:
    if not moved:
        return ""
    table = pd.DataFrame(moved)
    for column in ("start_s_before", "start_s"):
        table[column] = [words.moment(at_s) for at_s in table[column]]
    names = {"start_s_before": "start before", "start_s": "start now"}
    said = f"The first {len(table)} tasks that moved"
    return f"<details><summary>{said}</summary>{html_table(table, {}, names)}</details>"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Plan of a fleet</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 20px;max-width:40em}
h2{font-size:18px;margin:0 0 6px} h3{font-size:15px;margin:20px 0 4px}
p{max-width:52em;margin:0 0 12px} ul{margin:0 0 12px;padding-left:20px;max-width:60em}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px}
.tile{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:14px}
.tile.better{border-left:5px solid #009e73} .tile.worse{border-left:5px solid #d55e00}
.tile.no{border-left:5px solid #9fb3c8}
.tile b{display:block;font-size:25px} .tile span{display:block;font-weight:600}
small,.muted{color:#616e7c} .scroll{overflow:auto;max-height:660px}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 7px;text-align:right;border-bottom:1px solid #edf0f3;white-space:nowrap;
vertical-align:top}
th{color:#616e7c;font-weight:600;position:sticky;top:0;background:#fff} .word{text-align:left}
td.long{white-space:normal;min-width:28em}
input{font:inherit;width:100%;max-width:34em;padding:8px 11px;border:1px solid #9fb3c8;
border-radius:8px;box-sizing:border-box}
summary{cursor:pointer;font-weight:600;margin:8px 0}
#failed{color:#d55e00}
</style></head><body><main>
<p class="muted">Plan of a fleet · Loomworks</p><h1>$headline</h1>
<div class="tiles">$tiles</div><p id="failed"></p>
<section><h2>The plan</h2><p>$plan_words</p><p>$lane_words</p>
$chart_lanes</section>
<section><h2>Waves of each release</h2><p>$wave_words</p>
$chart_waves
<details><summary>Every wave</summary>$wave_table</details></section>
<section><h2>Work left, day by day</h2><p>$burn_words</p>
<p>How to read it: tasks not done at the end of each day, counted when their reservation ends.
A host counts as long as one of its tasks is not done; one without a place keeps it there.</p>
$chart_burn_down</section>
<section><h2>Headroom of the services</h2><p>$service_words</p>
<p>How to read it: blue are hosts of the service, over all domains, that are down at one time as
reserved; the dashed line is how many may be.</p>
$chart_services
<h3>How likely are more down than may be?</h3><p>$risk_words</p>$chart_cap_risk</section>
<section><h2>When is this host upgraded, or why not?</h2>
$chart_refusals
<p>$search_words</p>
<p><input id="search" type="search" aria-label="search" placeholder="host, task, service, release
or reason; several words narrow it down"></p><p class="muted" id="count"></p>
<div class="scroll"><table><thead><tr><th class="word">task</th><th class="word">host</th>
<th class="word">domain</th><th class="word">service</th><th class="word">type</th>
<th class="word">release</th><th class="word">reason</th><th class="word">in words</th></tr></thead>
<tbody id="found"></tbody></table></div>
<h2>What each reason sounds like</h2>$examples</section>
<section><h2>What changed</h2><p>$change_words</p>$moved</section>
<p class="muted">$inputs</p>
</main>
<script type="text/plain" id="packed-plotly">$plotly</script>
<script type="text/plain" id="packed-charts">$charts</script>
<script type="text/plain" id="packed-refusals">$packed_refusals</script>
<script type="text/plain" id="packed-placed">$packed_placed</script>
<script>$script</script></body></html>
""")

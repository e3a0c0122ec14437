"""One HTML page about a look at the forecasts; no network needed."""

from __future__ import annotations

import json
from html import escape
from string import Template
from typing import Any

import pandas as pd

from models.chart_style import BLUE, GREEN, INK, MUTED, ORANGE, PINK, RED, SKY, style
from models.upgrades.monitor.config import MonitorConfig
from models.upgrades.monitor.watch import Watch
from models.upgrades.monitor.words import (
    DETECTORS,
    column_words,
    days,
    feature_words,
    rules_for_people,
    table_for_people,
)
from models.upgrades.report.chart_style import as_html

COLOURS = (BLUE, GREEN, ORANGE, RED, PINK, SKY)
MOST_POINTS = 4_000


def page_figures(found: Watch) -> dict[str, Any]:
    """The numbers behind every chart as plain JSON values."""
    tables = {
        "periods": found.periods,
        "types": found.types,
        "drift": found.drift,
        "rules": found.verdict.table,
    }
    return {
        "model": found.model,
        "policy": found.policy,
        "note": found.note,
        "verdict": found.verdict.words,
        **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
    }


def render_page(found: Watch, config: MonitorConfig) -> str:
    """Render the page with plotly inlined once."""
    from plotly.offline import get_plotlyjs

    charts = {
        "coverage": _coverage_chart(found, config),
        "loss": _lines_chart(found.periods, _columns(found, "pinball@"), "loss"),
        "tails": _lines_chart(found.periods, _columns(found, "_share"), "share of upgrades"),
        "errors": _errors_chart(found.errors),
        "drift": _drift_chart(found.drift, config),
    }
    return _PAGE.substitute(
        plotly=get_plotlyjs(),
        verdict=escape(found.verdict.words),
        kind=found.verdict.action.value.replace(" ", "-"),
        about=escape(_about(found)),
        stands_in=_stands_in(found),
        spend=escape(_spend_words(found)),
        rules=_table(rules_for_people(found.verdict.table)),
        types=_table(table_for_people(found.types)),
        periods=_table(table_for_people(found.periods)),
        **{name: as_html(chart) for name, chart in charts.items()},
    )


def _about(found: Watch) -> str:
    origin = f", {found.note}" if found.note and not found.is_fallback else ""
    return f"Judged: {found.policy}{origin}."


def _stands_in(found: Watch) -> str:
    if not found.is_fallback:
        return ""
    return (
        f"<p class='flag'><b>{escape(found.note[:1].upper() + found.note[1:])}.</b> What is said "
        "below is said of the fallback.</p>"
    )


def _spend_words(found: Watch) -> str:
    promised, spent = found.promised, found.spent
    rates = [
        "-" if spend.metrics.cancellation_rate is None else f"{spend.metrics.cancellation_rate:.1%}"
        for spend in (promised, spent)
    ]
    return (
        f"Simulated cost per upgrade in the judged periods {spent.per_task:.3f} "
        f"(standard error {spent.standard_error:.3f}), on the select part where the policy was "
        f"chosen {promised.per_task:.3f} ({promised.standard_error:.3f}). Cancelled share of "
        f"starts {rates[1]}, promised {rates[0]}. Idle lane minutes "
        f"{spent.metrics.idle_min:,.0f} of {len(spent.weekly_cost)} weeks, "
        f"{promised.metrics.idle_min:,.0f} of {len(promised.weekly_cost)} weeks."
    )


def _coverage_chart(found: Watch, config: MonitorConfig) -> Any:
    names = _columns(found, "coverage@")
    figure = _lines_chart(found.periods, names, "observed coverage")
    for colour, name in zip(COLOURS, names, strict=False):
        level = float(name.partition("@")[2])
        figure.add_hline(y=level, line={"color": colour, "width": 1, "dash": "dot"})
    figure.update_yaxes(tickformat=".0%")
    return figure


def _columns(found: Watch, part: str) -> list[str]:
    return [str(name) for name in found.periods.columns if part in str(name)]


def _lines_chart(periods: pd.DataFrame, names: list[str], title: str) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for colour, name in zip(COLOURS, names, strict=False):
        figure.add_scatter(
            x=days(periods["from_s"]),
            y=periods[name],
            name=column_words(name),
            mode="lines+markers",
            line={"color": colour},
        )
    style(figure, 360)
    figure.update_yaxes(title=title)
    return figure


def _errors_chart(errors: pd.DataFrame) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = errors.tail(MOST_POINTS)
    when = pd.to_datetime(shown["end_s"], unit="s")
    figure.add_scatter(
        x=when,
        y=shown["error"],
        mode="markers",
        name="one upgrade",
        marker={"color": MUTED, "size": 3, "opacity": 0.4},
        hoverinfo="skip",
    )
    mean = shown["error"].rolling(200, min_periods=20).mean()
    figure.add_scatter(x=when, y=mean, name="mean of the last 200", line={"color": INK})
    for colour, (detector, words) in zip(COLOURS, DETECTORS.items(), strict=False):
        alarms = shown[shown[detector] != ""]
        figure.add_scatter(
            x=pd.to_datetime(alarms["end_s"], unit="s"),
            y=[3.2] * len(alarms),
            mode="markers",
            name=f"alarm of {words}",
            text=alarms[detector],
            marker={"color": colour, "size": 10, "symbol": "triangle-down"},
        )
    style(figure, 360)
    figure.update_yaxes(title="log error, standard deviations")
    return figure


def _drift_chart(drift: pd.DataFrame, config: MonitorConfig) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = drift.iloc[::-1]
    is_moved = shown["psi"] > config.psi_limit
    figure.add_bar(
        x=shown["psi"],
        y=[feature_words(name) for name in shown["feature"]],
        orientation="h",
        marker={"color": [RED if moved else BLUE for moved in is_moved]},
        text=[f"{value:.2f}" for value in shown["psi"]],
    )
    figure.add_vline(x=config.psi_limit, line={"color": INK, "dash": "dot"})
    style(figure, 90 + 24 * len(shown))
    figure.update_xaxes(title="population stability index")
    return figure


def _table(table: pd.DataFrame) -> str:
    html: str = table.to_html(
        index=False, border=0, na_rep="-", float_format=lambda value: f"{value:.3f}", escape=True
    )
    return f"<div class='scroll'>{html}</div>"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Upgrade forecasts</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 12px;padding-left:14px;border-left:6px solid #009e73}
h1.recalibrate{border-color:#e69f00} h1.retrain{border-color:#cc79a7}
h1.fall-back{border-color:#d55e00} h2{font-size:18px;margin:0 0 6px} p{max-width:52em}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.flag{background:#fdf0e3;border-left:6px solid #d55e00;padding:10px 14px}
.muted{color:#616e7c} .scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 7px;text-align:left;border-bottom:1px solid #edf0f3;white-space:nowrap}
.rules td:last-child{white-space:normal;min-width:24em}
</style><script>$plotly</script></head><body><main>
<p class="muted">Upgrade forecasts · Loomworks</p><h1 class="$kind">$verdict</h1>
$stands_in<p class="muted">$about</p>
<section><h2>Rules</h2><p>The gravest broken rule decides. Coverage is judged beyond chance, as if
upgrades were independent; they come in batches, so read a narrow breach twice.</p>
<div class="rules">$rules</div></section>
<section><h2>Coverage per period</h2><p>Share of upgrades that took no longer than their forecast
quantile (P90: of 90 %); dotted is what was promised. A period is named by its first
day.</p>$coverage</section>
<section><h2>Pinball loss per period (log minutes)</h2>$loss</section>
<section><h2>Per type, judged periods</h2>$types</section>
<section><h2>Aborted, straggling and unseen</h2>$tails</section>
<section><h2>Errors of the median, and when they changed</h2>$errors</section>
<section><h2>What moved</h2><p>How much the judged periods differ from the past: 0 is alike, right
of the dotted line counts as moved.</p>$drift</section>
<section><h2>Cost against the promise</h2><p>$spend</p></section>
<section><h2>Every period</h2>$periods</section>
</main></body></html>
""")

"""One HTML page about run times and the schedule; no network needed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import pandas as pd

from models.upgrades.report.chart_style import as_html
from models.upgrades.run_times.changes import Written
from models.upgrades.run_times.charts import (
    MOST_TYPES,
    busiest_day,
    coverage_chart,
    day_chart,
    days_table,
    forecast_chart,
)
from models.upgrades.run_times.forecast import RunForecast
from models.upgrades.run_times.propose import Proposal
from models.upgrades.run_times.summary import duration_words, words_of


@dataclass(frozen=True)
class RunReport:
    """What one run of the flow found.

    Attributes:
        forecast: How long runs take.
        proposal: When they should start.
        written: What was changed on the server.
    """

    forecast: RunForecast
    proposal: Proposal
    written: Written


def page_figures(found: RunReport) -> dict[str, Any]:
    """The numbers behind the page as plain JSON values."""
    proposal, judged = found.proposal, found.forecast.judged
    tables = {
        "forecast": found.forecast.table,
        "scores": judged.scores,
        "coverage_by_type": judged.types,
        "runs_now": proposal.runs(proposal.now),
        "runs_proposed": proposal.runs(proposal.best),
        "moves": proposal.moves(),
    }
    return {
        "words": words_of(found.forecast, found.proposal),
        "note": found.forecast.note,
        "notes": [*proposal.notes, *found.written.said],
        **{name: json.loads(table.to_json(orient="records")) for name, table in tables.items()},
    }


def render_page(found: RunReport) -> str:
    """Render the page with plotly inlined once."""
    from plotly.offline import get_plotlyjs

    forecast, proposal = found.forecast, found.proposal
    day_s = busiest_day(proposal)
    has_runs = bool(len(proposal.runs(proposal.now)))
    nothing = "<p class='muted'>No deployment with an active cron schedule.</p>"
    charts = {
        "forecasts": as_html(forecast_chart(forecast)) if forecast.n_runs else "",
        "coverage": as_html(coverage_chart(forecast)) if len(forecast.judged.runs) else "",
        "now": as_html(day_chart(proposal, proposal.now, day_s)) if has_runs else nothing,
        "proposed": as_html(day_chart(proposal, proposal.best, day_s)) if has_runs else nothing,
    }
    return _PAGE.substitute(
        plotly=get_plotlyjs(),
        words=escape(words_of(forecast, proposal)),
        about=escape(f"From {forecast.source}: {forecast.note}."),
        most=MOST_TYPES,
        level=f"{forecast.level:.0%}",
        day=pd.Timestamp(day_s, unit="s").strftime("%A %Y-%m-%d"),
        table=_table(forecast_for_people(forecast)),
        judged=escape(_judged_words(forecast)),
        scores=_table(forecast.judged.scores),
        types=_table(forecast.judged.types),
        days=_table(days_table(proposal)) if has_runs else "",
        moves=_table(proposal.moves()) if proposal.changes else "<p>Nothing is moved.</p>",
        notes="".join(
            f"<li>{escape(note)}</li>" for note in [*proposal.notes, *found.written.said]
        ),
        **charts,
    )


def forecast_for_people(forecast: RunForecast) -> pd.DataFrame:
    """The table of forecasts, seconds as words."""
    table = forecast.table.copy()
    for name in [column for column in table.columns if column.endswith("_s")]:
        table[name] = [duration_words(seconds) for seconds in table[name]]
    return table.rename(
        columns={
            "type": "deployment",
            "broken": "broken or running",
            "p50_s": "P50",
            "p90_s": "P90",
            "p95_s": "P95",
            "reserved_s": f"reserved ({forecast.level:.0%})",
            "last_s": "last",
            "mean_s": "mean",
            "wait_s": "median wait",
        }
    )


def _judged_words(forecast: RunForecast) -> str:
    judged = forecast.judged
    n = len(judged.runs)
    if not n:
        return "Too few runs to judge anything."
    first = f"{judged.first_runs} more were the first of their deployment. "
    return (
        f"{n:,} finished runs of the last 30 % by time, each forecast from what had ended before "
        f"it began: {judged.by_model:,} by the duration model, {n - judged.by_model:,} by the "
        f"earlier runs of the deployment. {first if judged.first_runs else ''}Rules without "
        "learning say one number, whatever share is asked for; pinball loss in log minutes, less "
        "is better. Runs that failed have no known length and are not judged."
    )


def _table(table: pd.DataFrame) -> str:
    html: str = table.to_html(
        index=False, border=0, na_rep="-", float_format=lambda value: f"{value:.3f}", escape=True
    )
    return f"<div class='scroll'>{html}</div>"


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Run times</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body{margin:0;background:#f5f7fa;color:#1f2933;font:15px/1.55 Inter,system-ui,sans-serif}
main{max-width:1280px;margin:0 auto;padding:32px 20px 60px}
h1{font-size:23px;line-height:1.3;margin:0 0 12px;padding-left:14px;border-left:6px solid #009e73}
h2{font-size:18px;margin:0 0 6px} h3{font-size:15px;margin:14px 0 0} p{max-width:52em}
section{background:#fff;border:1px solid #e4e7eb;border-radius:10px;padding:22px;margin:18px 0}
.muted{color:#616e7c} .scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:12.5px;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:4px 7px;text-align:left;border-bottom:1px solid #edf0f3;white-space:nowrap}
</style><script>$plotly</script></head><body><main>
<p class="muted">Run times · Loomworks</p><h1>$words</h1><p class="muted">$about</p>
<section><h2>How long the next run takes</h2><p>Of 100 runs, 90 should end within P90. At most
$most deployments are drawn, those that take longest.</p>$forecasts$table</section>
<section><h2>How good such forecasts were</h2><p>$judged</p>$coverage$scores
<h3>Per deployment</h3>$types</section>
<section><h2>$day, as scheduled</h2><p>Every run lasts the time within which $level of its kind
end.</p>$now</section>
<section><h2>The same day, as proposed</h2>$proposed</section>
<section><h2>The week</h2>$days</section>
<section><h2>What would be moved</h2>$moves<ul>$notes</ul></section>
</main></body></html>
""")

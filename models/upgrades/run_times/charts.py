"""Charts about run times: forecasts beside runs, coverage, a day of the schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from models.chart_style import BAND, BLUE, GREEN, INK, MUTED, ORANGE, RED, style
from models.upgrades.config import DAY_S
from models.upgrades.run_times.forecast import LEVELS, RunForecast
from models.upgrades.run_times.judge import OURS
from models.upgrades.run_times.propose import Proposal
from models.upgrades.run_times.search import Trial

MOST_TYPES = 40
"""Deployments that a chart shows, those that take longest; the table has all."""
MOST_RUNS = 2_000


def forecast_chart(forecast: RunForecast) -> Any:
    """One bar from P50 to P95 per deployment, the judged runs as points."""
    import plotly.graph_objects as go

    known = forecast.table.dropna(subset=["p50_s"]).nlargest(MOST_TYPES, "p95_s").iloc[::-1]
    figure = go.Figure()
    figure.add_bar(
        y=known["type"],
        x=(known["p95_s"] - known["p50_s"]) / 60,
        base=known["p50_s"] / 60,
        orientation="h",
        name="P50 to P95",
        marker={"color": BAND},
    )
    figure.add_scatter(
        y=known["type"],
        x=known["p90_s"] / 60,
        mode="markers",
        name="P90",
        marker={
            "color": BLUE,
            "symbol": "line-ns",
            "size": 16,
            "line": {"width": 3, "color": BLUE},
        },
    )
    runs = forecast.judged.runs
    shown = runs[runs["type"].isin(known["type"])].tail(MOST_RUNS)
    figure.add_scatter(
        y=shown["type"],
        x=shown["duration_s"] / 60,
        mode="markers",
        name="one of the last runs",
        marker={"color": INK, "size": 4, "opacity": 0.45},
    )
    style(figure, 130 + 30 * len(known))
    figure.update_xaxes(title="minutes", type="log")
    return figure


def coverage_chart(forecast: RunForecast) -> Any:
    """Observed against promised coverage, ours beside the rules without learning."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="as promised", line={"color": MUTED, "dash": "dot"}
    )
    colours = dict(zip(forecast.judged.scores["rule"], (GREEN, ORANGE, RED, BLUE), strict=False))
    for row in forecast.judged.scores.to_dict("records"):
        figure.add_scatter(
            x=list(LEVELS),
            y=[row[f"coverage@{level:g}"] for level in LEVELS],
            name=row["rule"],
            mode="lines+markers",
            line={"color": colours[row["rule"]], "width": 3 if row["rule"] == OURS else 1.5},
        )
    style(figure, 360)
    figure.update_xaxes(title="share promised", tickformat=".0%", range=[0.45, 1])
    figure.update_yaxes(title="share of runs within it", tickformat=".0%")
    return figure


def busiest_day(proposal: Proposal) -> int:
    """Return the midnight (UTC) of the day with most waiting now; of none, with most runs."""
    runs = proposal.runs(proposal.now)
    if runs.empty:
        return proposal.from_s
    day = runs["due_s"] // DAY_S * DAY_S
    is_waiting = (runs["wait_s"] > 0) | runs["start_s"].isna()
    counts = pd.DataFrame({"waits": is_waiting, "n": 1}).groupby(day).sum()
    return int(counts.sort_values(["waits", "n"], ascending=False, kind="stable").index[0])


def day_chart(proposal: Proposal, trial: Trial, day_s: int) -> Any:
    """One row per deployment, one bar per run of a day; time spent waiting in red."""
    import plotly.graph_objects as go

    runs = proposal.runs(trial)
    until_s = day_s + DAY_S
    shown = runs[(runs["due_s"] < until_s) & (runs["end_s"].fillna(runs["due_s"]) > day_s)]
    shown = shown.sort_values("due_s", ascending=False, kind="stable")
    figure = go.Figure()
    for name, start, end, colour in (
        ("waits", "due_s", "start_s", RED),
        ("runs", "start_s", "end_s", GREEN),
    ):
        part = shown[shown[end].notna() & (shown[end] > shown[start])]
        figure.add_bar(
            y=part["deployment"],
            x=(part[end] - part[start]) * 1_000,
            base=pd.to_datetime(part[start], unit="s"),
            orientation="h",
            name=name,
            marker={"color": colour},
        )
    lost = shown[shown["start_s"].isna()]
    figure.add_scatter(
        y=lost["deployment"],
        x=pd.to_datetime(lost["due_s"], unit="s"),
        mode="markers",
        name="cancelled",
        marker={"color": RED, "symbol": "x", "size": 10},
    )
    style(figure, 120 + 30 * shown["deployment"].nunique())
    figure.update_layout(barmode="overlay", showlegend=True)
    figure.update_xaxes(
        title="UTC",
        type="date",
        range=[str(pd.Timestamp(at, unit="s")) for at in (day_s, until_s)],
    )
    return figure


def days_table(proposal: Proposal) -> pd.DataFrame:
    """Per day of the week: runs, and those that wait or are cancelled, now and proposed."""
    parts: dict[str, pd.Series[Any]] = {}
    for name, trial in (("now", proposal.now), ("proposed", proposal.best)):
        runs = proposal.runs(trial)
        day = pd.to_datetime(runs["due_s"] // DAY_S * DAY_S, unit="s").dt.strftime("%a %Y-%m-%d")
        waits = ((runs["wait_s"] > 0) | runs["start_s"].isna()).to_numpy(bool)
        is_waiting = pd.Series(waits.astype(np.int64))
        parts[f"runs, {name}"] = is_waiting.groupby(day.to_numpy(), sort=False).size()
        parts[f"wait, {name}"] = is_waiting.groupby(day.to_numpy(), sort=False).sum()
    table = pd.DataFrame(parts).fillna(0).astype(np.int64)
    table = table.loc[sorted(table.index, key=lambda day: str(day)[4:])]
    return table.rename_axis("day").reset_index()

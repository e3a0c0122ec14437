"""Charts of the plan: windows, refusals, headroom of the services, work left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from models.chart_style import BAND, BLUE, INK, MUTED, RED, style
from models.upgrades.report.chart_style import OUTCOME_COLOURS, RESERVED, panels, place_of

# A chart of more rows is no longer read; the JSON holds all of them.
MOST_TASKS = 200
MOST_SERVICES = 12


def windows_chart(windows: Sequence[Mapping[str, Any]], window_h: float) -> Any:
    """Gantt: one row per task, hours after the opening of its window on the x axis."""
    import plotly.graph_objects as go

    figure = go.Figure()
    # By row number: two tasks of one host in one window must not share a row.
    shown = [{**task, "y": -place} for place, task in enumerate(windows[:MOST_TASKS])]
    figure.add_bar(
        name="reserved",
        y=[task["y"] for task in shown],
        base=[task["start_h"] for task in shown],
        x=[task["reserved_end_h"] - task["start_h"] for task in shown],
        orientation="h",
        width=0.86,
        marker={"color": RESERVED},
        hoverinfo="skip",
    )
    for outcome, colour in OUTCOME_COLOURS.items():
        mine = [task for task in shown if task["outcome"] == outcome]
        figure.add_bar(
            name=f"really ran, {outcome}",
            y=[task["y"] for task in mine],
            base=[task["real_start_h"] for task in mine],
            x=[task["real_end_h"] - task["real_start_h"] for task in mine],
            orientation="h",
            width=0.5,
            marker={"color": colour},
            hovertext=[_describe(task) for task in mine],
            hoverinfo="text",
        )
    figure.add_scatter(
        name="forecast end, P50 to P90",
        x=[x for t in shown for x in (t["p50_end_h"], t["p90_end_h"], None)],
        y=[y for task in shown for y in (task["y"], task["y"], None)],
        mode="lines",
        line={"color": INK, "width": 1.5},
        hoverinfo="skip",
    )
    idle = [task for task in shown if task["outcome"] not in OUTCOME_COLOURS]
    figure.add_scatter(
        name="never started",
        x=[task["start_h"] for task in idle],
        y=[task["y"] for task in idle],
        mode="markers",
        marker={"symbol": "x", "color": MUTED, "size": 9},
        hovertext=[_describe(task) for task in idle],
        hoverinfo="text",
    )
    figure.add_vline(x=window_h, line={"color": INK, "width": 1.5, "dash": "dot"})
    style(figure, height=130 + 19 * len(shown))
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(title="hours after the window opens", range=[0, window_h + 0.6])
    figure.update_yaxes(
        tickvals=[task["y"] for task in shown],
        ticktext=[_row_name(task) for task in shown],
        tickfont={"size": 11},
        range=[0.6 - len(shown), 0.6],
        showgrid=False,
    )
    return figure


def refusals_chart(refusals: Mapping[str, int]) -> Any:
    """Tasks without a place in the plan, by reason."""
    import plotly.graph_objects as go

    reasons = sorted(refusals, key=lambda reason: refusals[reason])
    figure = go.Figure()
    figure.add_bar(
        x=[refusals[reason] for reason in reasons],
        y=reasons,
        orientation="h",
        marker={"color": BAND},
        text=[str(refusals[reason]) for reason in reasons],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    style(figure, height=110 + 40 * max(len(reasons), 1))
    figure.update_xaxes(title="tasks", rangemode="tozero")
    return figure


def headroom_chart(headroom: Sequence[Mapping[str, Any]]) -> Any:
    """Hosts of each service down at one time in the replayed plan, with the cap as a line."""
    shown = headroom[:MOST_SERVICES]
    figure = panels(
        [f"{load['domain']} · {load['service']}<br>cap {load['cap']}" for load in shown] or [""],
        panel_height=190,
        x_title="days after the first window opens",
        y_title="hosts down at one time",
    )
    last_h = max((load["hours"][-1] for load in shown), default=1.0)
    for number, load in enumerate(shown):
        place = place_of(number, len(shown))
        figure.add_scatter(
            x=[hours / 24 for hours in load["hours"]],
            y=load["down"],
            name="hosts down",
            mode="lines",
            line={"shape": "hv", "color": BLUE, "width": 1.5},
            fill="tozeroy",
            legendgroup="down",
            showlegend=number == 0,
            hovertemplate="day %{x:.2f}: %{y} hosts down<extra></extra>",
            **place,
        )
        figure.add_scatter(
            x=[0, last_h / 24],
            y=[load["cap"]] * 2,
            name="cap",
            mode="lines",
            line={"color": RED, "width": 2, "dash": "dash"},
            legendgroup="cap",
            showlegend=number == 0,
            hoverinfo="skip",
            **place,
        )
        # Caps differ from one host to hundreds: each service has a scale of its own.
        most = max(load["cap"], load["peak"])
        figure.update_yaxes(
            matches=None,
            showticklabels=True,
            range=[0, most * 1.12 + 0.1],
            dtick=max(1, round(most / 4)),
            **place,
        )
    return figure


def burn_down_chart(burn_down: Mapping[str, Sequence[int]], colours: Mapping[str, str]) -> Any:
    """Tasks not done at the end of each day; the grey area is work nobody has asked for yet.

    Args:
        burn_down: `figures` of that name.
        colours: Colour by policy label.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    days = [datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in burn_down["day_s"]]
    figure.add_scatter(
        x=days,
        y=burn_down["not_requested"],
        name="not requested yet",
        mode="lines",
        line={"color": RESERVED, "width": 1},
        fill="tozeroy",
        fillcolor="#eef2f6",
        hovertemplate="%{x}: %{y:,} not requested yet<extra></extra>",
    )
    for label, left in burn_down.items():
        if label not in ("day_s", "not_requested"):
            figure.add_scatter(
                x=days,
                y=left,
                name=label,
                mode="lines",
                line={"color": colours.get(label, MUTED), "width": 2},
                hovertemplate=f"%{{x}}: %{{y:,}} left<extra>{label}</extra>",
            )
    style(figure, height=430)
    figure.update_xaxes(title="day of the test part")
    figure.update_yaxes(title="tasks not done", rangemode="tozero")
    return figure


def _row_name(task: Mapping[str, Any]) -> str:
    day = datetime.fromtimestamp(task["window_open_s"], UTC).strftime("%m-%d")
    return f"{day} · {task['host']} · {task['type']}"


def _describe(task: Mapping[str, Any]) -> str:
    return (
        f"<b>{task['host']}</b> {task['type']} ({task['outcome']})<br>"
        f"domain {task['domain']}, lane {task['lane']}<br>"
        f"forecast {task['p50_end_h'] - task['start_h']:.1f} h (P50), "
        f"{task['p90_end_h'] - task['start_h']:.1f} h (P90); really {task['duration_h']:.1f} h"
    )

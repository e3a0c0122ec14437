"""The charts of the report; each takes plain figures and returns a plotly figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

INK, MUTED, GRID, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
# A chart of more rows is no longer read; the table and the JSON hold all of them.
MOST_TASKS = 120
BAND, RESERVED = "#9db4c8", "#d3dee9"
# Okabe-Ito colours: told apart with any colour vision.
OUTCOME_COLOURS = {"completed": "#009e73", "cancelled": "#d55e00"}
FORECASTER_COLOURS = {
    "xgb-quantile": "#0072b2",
    "type-quantile": "#009e73",
    "xgb-squared-error": "#cc79a7",
    "body-p95": "#e69f00",
    "type-p95": "#d55e00",
    "type-p50": "#b08968",
    "global-p95": "#7b8794",
    "oracle": "#1f2933",
}


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
    _style(figure, height=110 + 19 * len(shown))
    figure.update_layout(
        barmode="overlay", legend={"orientation": "h", "y": 1, "yanchor": "bottom"}
    )
    figure.update_xaxes(title="hours after the window opens", range=[0, window_h + 0.6])
    figure.update_yaxes(
        tickvals=[task["y"] for task in shown],
        ticktext=[_row_name(task) for task in shown],
        tickfont={"size": 11},
        range=[0.6 - len(shown), 0.6],
        showgrid=False,
    )
    return figure


def calibration_chart(calibration: Mapping[str, Mapping[str, float]]) -> Any:
    """Nominal against observed coverage on the test part; the diagonal is perfect."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[0.45, 1], y=[0.45, 1], mode="lines", name="perfect", line={"color": MUTED, "dash": "dot"}
    )
    for model, covered in calibration.items():
        if model == "type-p50":  # the distribution of type-p95
            continue
        is_raw = model.endswith("(no margins)")
        figure.add_scatter(
            x=[float(level) for level in covered],
            y=list(covered.values()),
            mode="lines+markers",
            name=model,
            line={
                "color": FORECASTER_COLOURS.get(model.split(" ")[0], MUTED),
                "dash": "dot" if is_raw else "solid",
                "width": 1.5 if is_raw else 2.5,
            },
            hovertemplate=f"{model}<br>asked %{{x:.0%}}, observed %{{y:.1%}}<extra></extra>",
        )
    _style(figure, height=430)
    figure.update_xaxes(title="nominal coverage", tickformat=".0%", range=[0.45, 1])
    figure.update_yaxes(title="observed coverage", tickformat=".0%", range=[0.4, 1])
    return figure


def frontier_chart(frontier: Sequence[Mapping[str, Any]]) -> Any:
    """Completed against cancelled starts; points carry their line of the policy table."""
    import plotly.graph_objects as go

    figure = go.Figure()
    numbered = [
        {**policy, "number": place, "rate": policy["cancellation_rate"] or 0.0}
        for place, policy in enumerate(frontier, start=1)
    ]
    for forecaster, colour in FORECASTER_COLOURS.items():
        mine = [policy for policy in numbered if policy["forecaster"] == forecaster]
        if not mine:
            continue
        figure.add_scatter(
            name=forecaster,
            x=[policy["rate"] for policy in mine],
            y=[policy["completed"] for policy in mine],
            mode="markers+text",
            text=[str(policy["number"]) for policy in mine],
            textposition="top center",
            textfont={"size": 10, "color": colour},
            marker={
                "color": colour,
                "size": 9,
                "symbol": [
                    "square"
                    if policy["dispatch"] == "calendar"
                    else "circle"
                    if policy["is_informed"]
                    else "circle-open"
                    for policy in mine
                ],
            },
            hovertext=[
                f"{policy['number']}. {policy['policy']}<br>{policy['completed']:,} completed, "
                f"{policy['rate']:.1%} of starts cancelled"
                for policy in mine
            ],
            hoverinfo="text",
        )
    selected = [policy for policy in numbered if policy["is_selected"]]
    figure.add_scatter(
        name="selected before the test",
        x=[policy["rate"] for policy in selected],
        y=[policy["completed"] for policy in selected],
        mode="markers",
        marker={"symbol": "circle-open", "size": 24, "color": INK, "line": {"width": 2.5}},
        hoverinfo="skip",
    )
    _style(figure, height=620)
    # From below zero, where the oracle stands: its marker would be cut in half.
    highest = max(policy["rate"] for policy in numbered)
    figure.update_xaxes(
        title="cancelled share of starts", tickformat=".0%", range=[-0.01, highest * 1.06]
    )
    figure.update_yaxes(title="upgrades completed")
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
    _style(figure, height=90 + 40 * max(len(reasons), 1))
    figure.update_xaxes(visible=False)
    return figure


def _row_name(task: Mapping[str, Any]) -> str:
    day = datetime.fromtimestamp(task["window_open_s"], UTC).strftime("%m-%d")
    return f"{day} · {task['host']} · {task['type']}"


def _describe(task: Mapping[str, Any]) -> str:
    return (
        f"<b>{task['host']}</b> {task['type']} ({task['outcome']})<br>"
        f"forecast {task['p50_end_h'] - task['start_h']:.1f} h (P50), "
        f"{task['p90_end_h'] - task['start_h']:.1f} h (P90); really {task['duration_h']:.1f} h"
    )


def _style(figure: Any, height: int) -> None:
    figure.update_layout(
        height=height,
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": "Inter, system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 10, "r": 20, "t": 30, "b": 10},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)

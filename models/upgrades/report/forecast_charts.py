"""Charts of forecasts: reliability, tails, contributions of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from models.chart_style import BAND, BLUE, GREEN, INK, MUTED, ORANGE, RED, style
from models.upgrades.report.chart_style import colour_of, panels, place_of

_PERFECT = {"color": MUTED, "dash": "dot", "width": 1.5}
# The axis of outlasting shares ends here: beyond, a handful of tasks of thousands decide.
_LEAST_SHARE = 1e-4


def calibration_chart(calibration: Mapping[str, Mapping[str, float]], chosen: str) -> Any:
    """Nominal against observed coverage on the test part; the diagonal is perfect.

    Args:
        calibration: `figures` of that name.
        chosen: Forecaster of the plan. It and its references are shown, the others on a
            click in the legend: a dozen lines along one diagonal cannot be told apart.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(x=[0.45, 1], y=[0.45, 1], mode="lines", name="perfect", line=_PERFECT)
    for model, covered in calibration.items():
        is_raw = model.endswith("(no margins)")
        is_shown = model.split(" ")[0] in (chosen, "body-p95", "type-p95", "xgb-quantile")
        figure.add_scatter(
            x=[float(level) for level in covered],
            y=list(covered.values()),
            mode="lines+markers",
            name=model,
            visible=True if is_shown else "legendonly",
            line={
                "color": colour_of(model.split(" ")[0]),
                "dash": "dot" if is_raw else "solid",
                "width": 1.5 if is_raw else 2.5,
            },
            hovertemplate=f"{model}<br>asked %{{x:.0%}}, observed %{{y:.1%}}<extra></extra>",
        )
    style(figure, height=470)
    figure.update_xaxes(title="nominal coverage", tickformat=".0%", range=[0.45, 1])
    figure.update_yaxes(title="observed coverage", tickformat=".0%", range=[0.35, 1.01])
    return figure


def reliability_chart(reliability: Sequence[Mapping[str, Any]]) -> Any:
    """Nominal against observed coverage, overall and per type, with 95 % intervals."""
    figure = panels(
        [f"{group['type']}<br>n = {group['n']:,}" for group in reliability],
        panel_height=225,
        x_title="nominal coverage",
        y_title="observed coverage",
    )
    for number, group in enumerate(reliability):
        place = place_of(number, len(reliability))
        figure.add_scatter(
            x=[0.45, 1],
            y=[0.45, 1],
            mode="lines",
            name="perfect",
            legendgroup="perfect",
            showlegend=number == 0,
            line=_PERFECT,
            hoverinfo="skip",
            **place,
        )
        observed = group["observed"]
        figure.add_scatter(
            x=group["nominal"],
            y=observed,
            name="observed, 95 % interval",
            legendgroup="observed",
            showlegend=number == 0,
            mode="lines+markers",
            line={"color": GREEN if group["type"] == "all" else BLUE, "width": 1.5},
            marker={"size": 6},
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [h - o for h, o in zip(group["high"], observed, strict=True)],
                "arrayminus": [o - low for low, o in zip(group["low"], observed, strict=True)],
                "thickness": 1.2,
                "width": 3,
            },
            hovertemplate="asked %{x:.0%}, observed %{y:.1%}<extra></extra>",
            **place,
        )
    figure.update_xaxes(tickformat=".0%", range=[0.45, 1])
    lowest = min((low for group in reliability for low in group["low"]), default=0.4)
    figure.update_yaxes(tickformat=".0%", range=[min(lowest, 0.4) - 0.03, 1.03])
    return figure


def tail_chart(tail: Mapping[str, Any]) -> Any:
    """Share of tasks that last longer than each time, both axes logarithmic."""
    groups = tail["groups"]
    figure = panels(
        [f"{group['type']}<br>n = {group['n']:,}" for group in groups],
        panel_height=225,
        x_title="duration, hours",
        y_title="share of tasks that last longer",
    )
    for number, group in enumerate(groups):
        place = place_of(number, len(groups))
        for name, colour, dash in (("observed", INK, "solid"), ("forecast", ORANGE, "dash")):
            figure.add_scatter(
                x=group["hours"],
                y=[share if share and share >= _LEAST_SHARE else None for share in group[name]],
                name=name,
                legendgroup=name,
                showlegend=number == 0,
                mode="lines",
                line={"color": colour, "width": 2, "dash": dash},
                hovertemplate=f"{name}: %{{y:.2%}} last longer than %{{x:.2f}} h<extra></extra>",
                **place,
            )
        figure.add_scatter(
            x=[tail["window_h"]] * 2,
            y=[_LEAST_SHARE, 1],
            name=f"window, {tail['window_h']:g} h",
            legendgroup="window",
            showlegend=number == 0,
            mode="lines",
            line={"color": RED, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
            **place,
        )
    figure.update_xaxes(
        type="log",
        tickvals=[0.01, 0.1, 1, 10, 100, 1_000, 10_000],
        ticktext=["0.01", "0.1", "1", "10", "100", "1k", "10k"],
    )
    figure.update_yaxes(
        type="log", range=[math.log10(_LEAST_SHARE), 0.1], dtick=1, tickformat=".2~%"
    )
    return figure


def importance_chart(shap: Mapping[str, Any]) -> Any:
    """Mean absolute contribution of each feature to the quantile in use."""
    import plotly.graph_objects as go

    lines = [*shap["importance"], {"feature": "all others together", "log_s": shap["others"]}]
    lines = lines[::-1]
    figure = go.Figure()
    figure.add_bar(
        x=[line["log_s"] for line in lines],
        y=[line["feature"] for line in lines],
        orientation="h",
        marker={"color": [BAND, *[BLUE] * len(shap["importance"])]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    style(figure, height=110 + 24 * len(lines))
    figure.update_xaxes(title="mean absolute contribution, log seconds")
    return figure


def waterfall_chart(example: Mapping[str, Any]) -> Any:
    """How one forecast comes about, feature by feature; bars are factors on the duration."""
    import plotly.graph_objects as go

    steps = [
        ("without any feature", example["bias_log_s"], "absolute"),
        *((_step_name(step), step["log_s"], "relative") for step in example["steps"]),
        ("conformal margin", example["margin_log_s"], "relative"),
        ("forecast that is used", math.log(example["quantile_h"] * 3_600), "total"),
    ]
    figure = go.Figure()
    figure.add_waterfall(
        orientation="h",
        y=[name for name, _, _ in steps],
        x=[value for _, value, _ in steps],
        measure=[measure for _, _, measure in steps],
        text=[
            f"x{math.exp(value):.2f}"
            if measure == "relative"
            else f"{math.exp(value) / 3_600:.1f} h"
            for _, value, measure in steps
        ],
        textposition="outside",
        cliponaxis=False,
        increasing={"marker": {"color": RED}},
        decreasing={"marker": {"color": GREEN}},
        totals={"marker": {"color": BLUE}},
        connector={"line": {"color": MUTED, "width": 1}},
        hovertemplate="%{y}: %{delta:.3f}<extra></extra>",
    )
    style(figure, height=110 + 26 * len(steps))
    reached = [example["bias_log_s"]]
    for _, value, measure in steps:
        if measure == "relative":
            reached.append(reached[-1] + value)
    low, high = min(reached), max(reached)
    ticks_h = [1 / 60, 1 / 6, 0.5, 1, 2, 4, 8, 16, 24, 48, 96, 240, 1_000]
    figure.update_xaxes(
        title="forecast duration (logarithmic)",
        tickvals=[math.log(hours * 3_600) for hours in ticks_h],
        ticktext=[f"{h:g} h" if h >= 0.5 else f"{h * 60:.0f} min" for h in ticks_h],
        range=[low - 0.6, high + 0.6],
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def _step_name(step: Mapping[str, Any]) -> str:
    return f"{step['feature']} = {step['value']}" if step["value"] else str(step["feature"])

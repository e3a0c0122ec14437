"""Charts of policies: the frontier, and costs over levels and prices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.chart_style import INK, PAPER, style
from models.upgrades.report.chart_style import ROLE_COLOURS, colour_of, panels, place_of

_SYMBOLS = {
    "calendar": "square",
    "backfill": "diamond",
    "online": "circle",
    "shortest": "triangle-up",
}


def frontier_chart(frontier: Sequence[Mapping[str, Any]], roles: Mapping[str, str]) -> Any:
    """Completed against cancelled starts, one line per forecaster and kind of retry.

    Args:
        frontier: `figures` of that name; points carry their line of the policy table.
        roles: What a policy stands for (selected, existing ...), by label: those are named
            in the chart, the others on hover.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    numbered = [
        {**policy, "number": place, "rate": policy["cancellation_rate"] or 0.0}
        for place, policy in enumerate(frontier, start=1)
    ]
    for forecaster in sorted({policy["forecaster"] for policy in numbered}):
        family = [policy for policy in numbered if policy["forecaster"] == forecaster]
        _add_family(figure, forecaster, family)
    for policy in numbered:
        if policy["policy"] in roles:
            _mark(figure, policy, roles[policy["policy"]])
    style(figure, height=680)
    # From below zero, where the oracle stands: its marker would be cut in half.
    highest = max(policy["rate"] for policy in numbered)
    figure.update_xaxes(
        title="cancelled share of starts", tickformat=".0%", range=[-0.02, highest * 1.08]
    )
    figure.update_yaxes(title="upgrades completed")
    return figure


def _add_family(figure: Any, forecaster: str, family: Sequence[Mapping[str, Any]]) -> None:
    colour = colour_of(forecaster)
    figure.add_scatter(
        name=forecaster,
        legendgroup=forecaster,
        x=[policy["rate"] for policy in family],
        y=[policy["completed"] for policy in family],
        mode="markers",
        marker={
            "color": colour,
            "size": 8,
            "line": {"width": 1.5, "color": colour},
            "symbol": [
                _SYMBOLS[policy["dispatch"]] + ("" if policy["is_informed"] else "-open")
                for policy in family
            ],
        },
        hovertext=[
            f"<b>{policy['policy']}</b> (line {policy['number']})<br>{policy['completed']:,} "
            f"completed, {policy['rate']:.1%} of {policy['scheduled']:,} starts cancelled"
            for policy in family
        ],
        hoverinfo="text",
    )
    for is_informed in (False, True):
        line = [
            policy
            for policy in family
            if policy["is_informed"] == is_informed
            and policy["dispatch"] == "online"
            and policy["level"] is not None
        ]
        line.sort(key=lambda policy: float(policy["level"]))
        if len(line) > 1:
            figure.add_scatter(
                legendgroup=forecaster,
                showlegend=False,
                x=[policy["rate"] for policy in line],
                y=[policy["completed"] for policy in line],
                mode="lines",
                line={"color": colour, "width": 2, "dash": "solid" if is_informed else "dot"},
                hoverinfo="skip",
            )


def _mark(figure: Any, policy: Mapping[str, Any], role: str) -> None:
    is_selected = role == "selected"
    figure.add_scatter(
        showlegend=False,
        x=[policy["rate"]],
        y=[policy["completed"]],
        mode="markers",
        marker={
            "symbol": "circle-open",
            "size": 24 if is_selected else 17,
            "color": ROLE_COLOURS.get(role, INK),
            "line": {"width": 3 if is_selected else 2},
        },
        hoverinfo="skip",
    )
    figure.add_annotation(
        x=policy["rate"],
        y=policy["completed"],
        text=f"<b>{role}</b>",
        showarrow=True,
        arrowhead=0,
        arrowcolor=INK,
        standoff=10,
        ax=36 if policy["rate"] < 0.02 else -44,
        ay=-30 if is_selected else 34,
        bgcolor=PAPER,
        font={"size": 12, "color": INK},
    )


def level_costs_chart(costs: Mapping[str, Any]) -> Any:
    """Cost per task over the admission level, one panel per ratio of costs."""
    ratios = [str(ratio) for ratio in costs["ratios"]]
    figure = panels(
        [f"a cancellation costs {ratio} completed" for ratio in ratios],
        panel_height=270,
        x_title="level: probability of ending in time that a start needs",
        y_title="cost per task, in completed upgrades (less is better)",
        abreast=2,
    )
    # Each price has a scale of its own.
    figure.update_yaxes(matches=None, showticklabels=True)
    for number, ratio in enumerate(ratios):
        place = place_of(number, len(ratios), abreast=2)
        for curve in costs["curves"]:
            retries = "informed" if curve["is_informed"] else "blind"
            name = f"{curve['forecaster']}, {retries}"
            figure.add_scatter(
                x=curve["levels"],
                y=curve["cost_per_task"][ratio],
                name=name,
                legendgroup=name,
                showlegend=number == 0,
                mode="lines+markers",
                marker={"size": 5},
                line={
                    "color": colour_of(curve["forecaster"]),
                    "width": 2,
                    "dash": "solid" if curve["is_informed"] else "dot",
                },
                hovertemplate=f"{name} at %{{x}}: %{{y:.3f}}<extra></extra>",
                **place,
            )
        cheapest = costs["cheapest"][ratio]
        if cheapest is not None:
            figure.add_scatter(
                x=[cheapest["level"]],
                y=[cheapest["cost_per_task"]],
                name="cheapest",
                legendgroup="cheapest",
                showlegend=number == 0,
                mode="markers+text",
                text=[f"{cheapest['level']:g}"],
                textposition="bottom center",
                marker={"symbol": "star", "size": 14, "color": INK},
                hovertemplate=f"cheapest: {cheapest['policy']}<br>%{{y:.3f}}<extra></extra>",
                cliponaxis=False,
                **place,
            )
    return figure


def ratio_costs_chart(costs: Mapping[str, Any]) -> Any:
    """Cost per task over the ratio of costs: each curve at its best level, and references."""
    import plotly.graph_objects as go

    ratios = costs["ratios"]
    figure = go.Figure()
    for curve in costs["curves"]:
        retries = "informed" if curve["is_informed"] else "blind"
        best = [min(curve["cost_per_task"][str(ratio)]) for ratio in ratios]
        at = [
            curve["levels"][curve["cost_per_task"][str(ratio)].index(cost)]
            for ratio, cost in zip(ratios, best, strict=True)
        ]
        figure.add_scatter(
            x=ratios,
            y=best,
            customdata=at,
            name=f"{curve['forecaster']}, {retries}",
            mode="lines+markers",
            line={
                "color": colour_of(curve["forecaster"]),
                "dash": "solid" if curve["is_informed"] else "dot",
            },
            hovertemplate="%{y:.3f} at level %{customdata}<extra>%{fullData.name}</extra>",
        )
    for reference in costs["references"]:
        figure.add_scatter(
            x=ratios,
            y=[reference["cost_per_task"][str(ratio)] for ratio in ratios],
            name=reference["role"],
            mode="lines+markers",
            marker={"symbol": "square", "size": 7},
            line={"color": ROLE_COLOURS.get(reference["role"], INK), "dash": "dash", "width": 2},
            hovertemplate=f"%{{y:.3f}}<extra>{reference['policy']}</extra>",
        )
    style(figure, height=520)
    figure.update_xaxes(
        title="cost of a cancelled start, in completed upgrades",
        type="log",
        tickvals=ratios,
        ticktext=[str(ratio) for ratio in ratios],
    )
    figure.update_yaxes(title="cost per task, in completed upgrades")
    return figure

"""Charts of the report; all times are on a date axis in the fleet's local clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models.chart_style import BAND, BLUE, GREEN, GRID, INK, MUTED, ORANGE, PINK, RED, SKY, style
from models.upgrades.report.chart_style import RESERVED, panels, place_of

WAVE_COLOURS = (PINK, ORANGE, SKY, BLUE, GREEN)
MOST_SERVICES = 12
_ROW_PX = 22


def wave_colour(wave: int) -> str:
    """Colour of a wave; no wave is grey, later ones than colours exist share the last."""
    return BAND if wave < 0 else WAVE_COLOURS[min(wave, len(WAVE_COLOURS) - 1)]


def lanes_chart(lanes: Mapping[str, Any], names: Sequence[str]) -> Any:
    """Gantt of the plan: a bar per task, or lanes in use by hour where there are too many.

    Args:
        lanes: `lane_figures`.
        names: `wave_names`, for the legend.
    """
    return _bars(lanes["bars"], names) if lanes["kind"] == "tasks" else _load(lanes)


def _bars(bars: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    import plotly.graph_objects as go

    keys = sorted({(bar["domain"], bar["lane"]) for bar in bars})
    row = {key: -place for place, key in enumerate(keys)}
    figure = go.Figure()
    for wave in sorted({bar["wave"] for bar in bars}):
        mine = [bar for bar in bars if bar["wave"] == wave]
        figure.add_bar(
            name="no wave" if wave < 0 else f"wave {wave}, {names[wave]}",
            y=[row[bar["domain"], bar["lane"]] for bar in mine],
            base=[bar["start_s"] * 1_000 for bar in mine],
            x=[(bar["end_s"] - bar["start_s"]) * 1_000 for bar in mine],
            orientation="h",
            width=0.8,
            marker={"color": wave_colour(wave), "line": {"width": 0.5, "color": "#ffffff"}},
            hovertext=[
                f"<b>{bar['task']}</b> {bar['type']} {bar['release']}<br>host {bar['host']}, "
                f"service {bar['service']}<br>{bar['domain']}, lane {bar['lane']}"
                for bar in mine
            ],
            hoverinfo="text",
        )
    style(figure, height=140 + _ROW_PX * len(keys))
    figure.update_layout(barmode="overlay")
    figure.update_xaxes(type="date", title="local time")
    figure.update_yaxes(
        tickvals=[row[key] for key in keys],
        ticktext=[f"{domain} · lane {lane}" for domain, lane in keys],
        tickfont={"size": 11},
        range=[0.6 - len(keys), 0.6],
        showgrid=False,
    )
    return figure


def _load(lanes: Mapping[str, Any]) -> Any:
    import plotly.graph_objects as go

    domains = lanes["domains"]
    shares = [[round(n / row["lanes"], 3) or None for n in row["in_use"]] for row in domains]
    figure = go.Figure()
    figure.add_heatmap(
        x=[hour * 1_000 for hour in lanes["hour_s"]],
        y=[f"{row['domain']} · {row['lanes']:,} lanes" for row in domains],
        z=shares,
        customdata=[row["in_use"] for row in domains],
        zmin=0,
        zmax=1,
        colorscale=[[0, "#eef4f9"], [1, BLUE]],
        colorbar={"title": {"text": "lanes in use"}, "tickformat": ".0%", "thickness": 12},
        hovertemplate="%{y}<br>%{x|%a %d %b %H:%M}: %{customdata:,.1f} in use "
        "(%{z:.0%})<extra></extra>",
        ygap=3,
    )
    style(figure, height=max(260, 130 + _ROW_PX * len(domains)))
    figure.update_xaxes(type="date", title="local time", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def waves_chart(waves: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Any:
    """Each release over time: its waves, and the soak behind each."""
    import plotly.graph_objects as go

    releases = list(dict.fromkeys(wave["release"] for wave in waves))
    row = {release: -place for place, release in enumerate(releases)}
    figure = go.Figure()
    placed = [wave for wave in waves if wave["start_s"] is not None]
    soaks = [wave for wave in placed if wave["soaked_s"] > wave["end_s"]]
    figure.add_bar(
        name="soak",
        y=[row[wave["release"]] for wave in soaks],
        base=[wave["end_s"] * 1_000 for wave in soaks],
        x=[(wave["soaked_s"] - wave["end_s"]) * 1_000 for wave in soaks],
        orientation="h",
        width=0.24,
        marker={"color": RESERVED},
        hoverinfo="skip",
    )
    for number, name in enumerate(names):
        mine = [wave for wave in placed if wave["wave"] == number]
        is_used = any(wave["wave"] == number for wave in waves)
        label = f"wave {number}, {name}"
        # A trace without a point would be missing in the legend.
        none: list[Any] = [None]
        figure.add_bar(
            name=label if is_used else f"{label} (no hosts)",
            y=[row[wave["release"]] for wave in mine] or none,
            base=[wave["start_s"] * 1_000 for wave in mine] or none,
            x=[(wave["end_s"] - wave["start_s"]) * 1_000 for wave in mine] or none,
            orientation="h",
            width=0.62,
            marker={"color": wave_colour(number)},
            hovertext=[
                f"<b>{wave['release']}</b>, wave {number} ({name})<br>{wave['placed']:,} placed, "
                f"{wave['waiting']:,} without a place"
                for wave in mine
            ],
            hoverinfo="text",
        )
    style(figure, height=150 + 34 * len(releases))
    figure.update_layout(barmode="overlay", legend={"traceorder": "normal"})
    figure.update_xaxes(type="date", title="local time")
    figure.update_yaxes(
        tickvals=list(row.values()),
        ticktext=releases,
        range=[0.6 - len(releases), 0.6],
        showgrid=False,
    )
    return figure


def burn_down_chart(burn_down: Mapping[str, Any]) -> Any:
    """Tasks and hosts with work left at the end of each day."""
    import plotly.graph_objects as go

    days = [day * 1_000 for day in burn_down["day_s"]]
    figure = go.Figure()
    for name, key, colour in (
        ("tasks not done", "tasks_left", BLUE),
        ("hosts with work left", "hosts_left", ORANGE),
    ):
        figure.add_scatter(
            x=days,
            y=burn_down[key],
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            hovertemplate=f"%{{x|%a %d %b}}: %{{y:,}} {name}<extra></extra>",
        )
    style(figure, height=380)
    figure.update_xaxes(type="date", title="end of day, local time")
    figure.update_yaxes(rangemode="tozero")
    return figure


def services_chart(services: Sequence[Mapping[str, Any]]) -> Any:
    """Hosts of each service that are down, hour by hour, with its cap as a line."""
    shown = services[:MOST_SERVICES]
    figure = panels(
        [f"{load['service']}<br>cap {load['cap']:,}, at most {load['peak']:,}" for load in shown]
        or [""],
        panel_height=180,
        x_title="local time",
        y_title="hosts down at one time",
    )
    for number, load in enumerate(shown):
        place = place_of(number, len(shown))
        hours = [hour * 1_000 for hour in load["hour_s"]]
        figure.add_scatter(
            x=hours,
            y=load["down"],
            name="most hosts down in the hour",
            mode="lines",
            line={"shape": "hv", "color": BLUE, "width": 1.2},
            fill="tozeroy",
            legendgroup="down",
            showlegend=number == 0,
            hovertemplate="%{x|%a %d %b %H:%M}: %{y:,} down<extra></extra>",
            **place,
        )
        figure.add_scatter(
            x=[hours[0], hours[-1]],
            y=[load["cap"]] * 2,
            name="cap",
            mode="lines",
            line={"color": RED, "width": 2, "dash": "dash"},
            legendgroup="cap",
            showlegend=number == 0,
            hoverinfo="skip",
            **place,
        )
        # Caps differ from one host to thousands: each service has a scale of its own.
        most = max(load["cap"], load["peak"])
        figure.update_yaxes(
            matches=None, showticklabels=True, range=[0, most * 1.15 + 0.1], **place
        )
        if most < 4:
            # Hosts are counted in whole numbers.
            figure.update_yaxes(dtick=1, **place)
        else:
            figure.update_yaxes(nticks=4, **place)
    figure.update_xaxes(type="date", tickformat="%d %b", nticks=5)
    return figure


def cap_risk_chart(risks: Sequence[Mapping[str, Any]]) -> Any:
    """How likely the cap of each service is exceeded in its worst window."""
    import plotly.graph_objects as go

    shown = risks[:MOST_SERVICES]
    figure = go.Figure()
    figure.add_bar(
        x=[risk["p_breach"] for risk in shown],
        y=[risk["service"] for risk in shown],
        orientation="h",
        marker={"color": [RED if risk["windows"] else BAND for risk in shown]},
        text=[f"{risk['p_breach']:.1%}" for risk in shown],
        textposition="outside",
        textfont={"color": INK},
        cliponaxis=False,
        hovertext=[
            f"<b>{risk['service']}</b>: {risk['hosts']:,} hosts in the window, cap {risk['cap']:,}"
            for risk in shown
        ],
        hoverinfo="text",
    )
    style(figure, height=120 + 30 * max(len(shown), 1))
    figure.update_xaxes(
        title="probability in the worst window", rangemode="tozero", tickformat=".1~%"
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def refusals_chart(refusals: Mapping[str, int]) -> Any:
    """Tasks without a place, by reason."""
    import plotly.graph_objects as go

    reasons = sorted(refusals, key=lambda reason: refusals[reason])
    figure = go.Figure()
    figure.add_bar(
        x=[refusals[reason] for reason in reasons],
        y=reasons,
        orientation="h",
        marker={"color": BAND},
        text=[f"{refusals[reason]:,}" for reason in reasons],
        textposition="outside",
        textfont={"color": INK},
        cliponaxis=False,
        hoverinfo="skip",
    )
    style(figure, height=120 + 36 * max(len(reasons), 1))
    figure.update_xaxes(title="tasks", rangemode="tozero", gridcolor=GRID, color=MUTED)
    return figure

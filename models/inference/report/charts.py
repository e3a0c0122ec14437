"""The charts of a job's page, drawn from its numbers."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from models.chart_style import BLUE, GREEN, MUTED, ORANGE, RED, style
from models.inference.report.style import KIND_COLOURS

GIB = 1024**3


def tree_chart(tree: Mapping[str, Any]) -> Any:
    """Icicle of prefixes: width by prompt tokens below, colour by what sharing saves there."""
    import plotly.graph_objects as go

    ids, parents, labels, values, shares, notes = ["all"], [""], ["all prompts"], [0], [0.0], [""]
    for node in tree["nodes"]:
        ids.append(str(node["id"]))
        parents.append("all" if node["parent"] is None else str(node["parent"]))
        rows, prefix = node["rows"], node["prefix_tokens"]
        name = escape(node["says"]) or ("rows that share nothing" if not prefix else "prefix")
        labels.append(f"{name}<br>{prefix:,} tokens, {rows:,} rows")
        values.append(node["logical_tokens"])
        logical = max(node["logical_tokens"], 1)
        shares.append(max(0.0, (rows * prefix - node["computed_tokens"]) / logical))
        notes.append(
            f"{rows:,} rows of {logical:,} prompt tokens; the prefix has {prefix:,} tokens, of "
            f"them {node['computed_tokens']:,} computed, the rest copied"
        )
    if tree["hidden_groups"]:
        ids.append("others")
        parents.append("all")
        labels.append(f"{tree['hidden_groups']:,} smaller groups")
        values.append(tree["hidden_tokens"])
        shares.append(0.0)
        notes.append("")
    chart = go.Icicle(
        ids=ids,
        parents=parents,
        labels=labels,
        values=values,
        branchvalues="remainder",
        customdata=notes,
        hovertemplate="%{label}<br>%{customdata}<extra></extra>",
        tiling={"orientation": "v"},
        marker={
            "colors": shares,
            "colorscale": [[0, "#eef2f6"], [1, GREEN]],
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": "saved", "tickformat": ".0%", "thickness": 10},
        },
    )
    return style(go.Figure(chart), height=420)


def saving_chart(tokens: Mapping[str, Any]) -> Any:
    """Share of prompt tokens that were not computed: what came, the plan, the optimum."""
    import plotly.graph_objects as go

    logical = tokens["logical"] or 1
    bars = [
        ("one level at best", tokens["single_level"], MUTED),
        ("trie optimum", tokens["optimal"], BLUE),
        ("planned", tokens["planned"], ORANGE),
        ("as it came", tokens["computed"], GREEN),
    ]
    known = [(name, 1 - n / logical, colour) for name, n, colour in bars if n]
    chart = go.Bar(
        y=[name for name, _, _ in known],
        x=[share for _, share, _ in known],
        marker_color=[colour for _, _, colour in known],
        text=[f"{share:.1%}" for _, share, _ in known],
        orientation="h",
    )
    figure = go.Figure(chart)
    figure.update_xaxes(range=[min(0.0, *(share for _, share, _ in known), 0.0), 1])
    figure.update_xaxes(tickformat=".0%", title="prompt tokens that need not be computed")
    return style(figure, height=240)


def steps_chart(process: Mapping[str, Any]) -> Any:
    """Tokens of each engine step by kind."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for kind, colour in KIND_COLOURS.items():
        figure.add_bar(x=process["at"], y=process[f"{kind}_tokens"], name=kind, marker_color=colour)
    figure.update_layout(barmode="stack", bargap=0)
    figure.update_xaxes(title="engine step")
    figure.update_yaxes(title="tokens")
    return style(figure, height=280)


def kv_chart(process: Mapping[str, Any], budget_bytes: int) -> Any:
    """Bytes of keys and values after each step, against the budget."""
    import plotly.graph_objects as go

    used = [value / GIB for value in process["kv_bytes"]]
    figure = go.Figure()
    figure.add_scatter(
        x=process["at"], y=used, name="used", fill="tozeroy", line={"color": BLUE, "shape": "hv"}
    )
    ends = [process["at"][0], process["at"][-1]]
    line = {"color": RED, "dash": "dash"}
    figure.add_scatter(x=ends, y=[budget_bytes / GIB] * 2, name="budget", line=line, mode="lines")
    figure.update_xaxes(title="engine step")
    figure.update_yaxes(title="KV, GiB", rangemode="tozero")
    return style(figure, height=240)

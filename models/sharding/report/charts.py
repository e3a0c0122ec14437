"""The charts of the page, drawn from its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from models.chart_style import BAND, BLUE, GREEN, INK, MUTED, RED, style
from models.sharding.profile.base import Profile
from models.sharding.report.inputs import ShotsLine
from models.sharding.report.style import PART_COLOURS, RANK_COLOURS, rank_colour

GB = 1e9
_LEAST_SHARE = 0.003
"""Terms below this share of the step are drawn together."""


def waterfall_chart(proposals: Sequence[Mapping[str, Any]]) -> Any:
    """Seconds of a step by term, one panel per proposal, the same scale."""
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=1, cols=len(proposals), shared_yaxes=True, horizontal_spacing=0.03,
        subplot_titles=[f"{one['rank']}: {escape(one['layout'])}" for one in proposals],
    )  # fmt: skip
    style(figure, height=430)
    figure.update_annotations(font={"size": 12, "color": INK})
    for column, one in enumerate(proposals, start=1):
        total = sum(one["terms_s"].values())
        shown = {k: v for k, v in one["terms_s"].items() if abs(v) >= _LEAST_SHARE * total}
        rest = total - sum(shown.values())
        if rest > 0:
            shown["other"] = rest
        values = [*shown.values(), total]
        figure.add_waterfall(
            x=[*(name.replace("_", " ") for name in shown), "step"],
            y=values,
            measure=[*["relative"] * len(shown), "total"],
            text=[f"{value:.3g}" for value in values],
            textposition="outside",
            increasing={"marker": {"color": rank_colour(one["rank"])}},
            decreasing={"marker": {"color": GREEN}},
            totals={"marker": {"color": INK}},
            connector={"line": {"color": BAND, "width": 1}},
            hovertemplate="%{x}: %{y:.4g} s<extra></extra>",
            showlegend=False,
            cliponaxis=False,
            row=1,
            col=column,
        )
    figure.update_xaxes(tickangle=-50, showgrid=False)
    figure.update_yaxes(title="seconds of a step", col=1)
    figure.update_layout(margin={"t": 60})
    return figure


def memory_chart(proposals: Sequence[Mapping[str, Any]], capacity_bytes: float) -> Any:
    """Bytes of the fullest chip by what holds them, P10 to P90, against the capacity."""
    import plotly.graph_objects as go

    figure = go.Figure()
    names = [f"{one['rank']}: {escape(one['layout'])}" for one in proposals]
    for part, colour in PART_COLOURS.items():
        held = [one["memory_parts"][part] / GB for one in proposals]
        if max(held) > 0:
            figure.add_bar(
                y=names, x=held, name=part, orientation="h", marker={"color": colour},
                hovertemplate=f"{part}: %{{x:.3g}} GB<extra></extra>",
            )  # fmt: skip
    middle = [one["memory_bytes"]["middle"] / GB for one in proposals]
    high = [one["memory_bytes"]["high"] / GB for one in proposals]
    low = [one["memory_bytes"]["low"] / GB for one in proposals]
    figure.add_scatter(
        y=names, x=middle, mode="markers", name="P10 to P90", marker={"color": INK, "size": 5},
        error_x={
            "type": "data", "symmetric": False, "color": INK, "thickness": 1.5,
            "array": [h - m for h, m in zip(high, middle, strict=True)],
            "arrayminus": [m - a for m, a in zip(middle, low, strict=True)],
        },
        hovertemplate="%{x:.3g} GB<extra></extra>",
    )  # fmt: skip
    figure.add_vline(
        x=capacity_bytes / GB, line={"color": RED, "width": 2, "dash": "dash"},
        annotation_text=f"capacity {capacity_bytes / GB:.3g} GB", annotation_position="bottom left",
        annotation_font={"color": RED},
    )  # fmt: skip
    style(figure, height=150 + 62 * len(proposals))
    figure.update_layout(barmode="stack", legend={"traceorder": "normal"})
    figure.update_xaxes(title="GB per chip", range=[0, 1.04 * max(*high, capacity_bytes / GB)])
    figure.update_yaxes(autorange="reversed")
    return figure


def pareto_chart(
    candidates: Mapping[str, Any], proposals: Sequence[Mapping[str, Any]], capacity_bytes: float
) -> Any:
    """Memory against step time of the candidates, the proposals and the frontier marked."""
    import plotly.graph_objects as go

    steps = candidates["step_s"]
    memory = [value / GB for value in candidates["memory_bytes"]]
    figure = go.Figure()
    figure.add_scatter(
        x=steps, y=memory, mode="markers", name="legal layouts", text=candidates["layout"],
        marker={"color": BAND, "size": 5, "opacity": 0.55},
        hovertemplate="%{text}<br>%{x:.4g} s, P90 %{y:.3g} GB<extra></extra>",
    )  # fmt: skip
    front = [row for row, is_front in enumerate(candidates["is_frontier"]) if is_front]
    figure.add_scatter(
        x=[steps[row] for row in front], y=[memory[row] for row in front], mode="lines",
        name="nothing is faster and smaller", line={"color": INK, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )  # fmt: skip
    # The first one last: it stands on top where they are near each other.
    for one in reversed(proposals):
        figure.add_scatter(
            x=[one["step_s"]["middle"]], y=[one["memory_bytes"]["high"] / GB], mode="markers+text",
            name=f"proposal {one['rank']}", text=[str(one["rank"])], textposition="top center",
            marker={
                "color": rank_colour(one["rank"]), "size": 13, "symbol": "diamond",
                "line": {"color": "#ffffff", "width": 1.5},
            },
            hovertemplate=f"{escape(one['layout'])}<br>%{{x:.4g}} s, P90 %{{y:.3g}} GB"
            "<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=capacity_bytes / GB, line={"color": RED, "width": 2, "dash": "dash"})
    style(figure, height=470)
    figure.update_layout(legend={"traceorder": "normal"})
    figure.update_xaxes(title="seconds of a step (log)", type="log")
    figure.update_yaxes(title="P90 of memory, GB per chip (log)", type="log")
    return figure


def roofline_chart(
    products: Sequence[Sequence[Mapping[str, Any]]], peak: float, hbm_bytes_per_s: float,
    profile: Profile | None,
) -> Any:  # fmt: skip
    """Rates that the chip allows over arithmetic intensity; measured operations where known."""
    import plotly.graph_objects as go

    measured = [
        (op.flops / op.hbm_bytes, op.flops / op.seconds, escape(op.name))
        for op in (profile.top_ops if profile else ())
        if op.flops and op.hbm_bytes and op.seconds
    ]
    points = [one["intensity"] for group in products for one in group]
    points += [intensity for intensity, _, _ in measured]
    ridge = peak / hbm_bytes_per_s
    low, high = min([*points, ridge]) / 3, max([*points, ridge]) * 3
    figure = go.Figure()
    figure.add_scatter(
        x=[low, ridge, high], y=[low * hbm_bytes_per_s / 1e12, peak / 1e12, peak / 1e12],
        mode="lines", name="roof of the chip", line={"color": INK, "width": 2}, hoverinfo="skip",
    )  # fmt: skip
    for rank, group in enumerate(products, start=1):
        figure.add_scatter(
            x=[one["intensity"] for one in group],
            y=[one["flops_per_s"] / 1e12 for one in group],
            text=[f"{one['name']}, {one['phase']}" for one in group],
            mode="markers", name=f"products of proposal {rank}",
            marker={
                "color": rank_colour(rank), "size": 15 - 3 * rank if rank < 4 else 6,
                "symbol": ("circle", "square", "diamond")[(rank - 1) % 3], "opacity": 0.85,
            },
            hovertemplate=f"proposal {rank}: %{{text}}<br>%{{x:.3g}} FLOP per byte, at most "
            "%{y:.3g} TFLOP/s<extra></extra>",
        )  # fmt: skip
    if measured:
        figure.add_scatter(
            x=[x for x, _, _ in measured], y=[y / 1e12 for _, y, _ in measured],
            text=[name for _, _, name in measured], mode="markers", name="profiled operations",
            marker={"color": RED, "symbol": "x", "size": 9},
            hovertemplate="%{text}<br>%{x:.3g} FLOP per byte, %{y:.3g} TFLOP/s<extra></extra>",
        )  # fmt: skip
    style(figure, height=380)
    figure.update_xaxes(title="FLOP per byte of memory traffic (log)", type="log")
    figure.update_yaxes(title="TFLOP/s of a chip (log)", type="log")
    return figure


def counterfactual_chart(counterfactuals: Sequence[Mapping[str, Any]]) -> Any:
    """Share of the step that each limit, taken away, would save."""
    import plotly.graph_objects as go

    shown = [one for one in counterfactuals if one["share"] >= _LEAST_SHARE] or counterfactuals[:1]
    figure = go.Figure(
        go.Bar(
            y=[escape(one["kind"]) for one in shown], x=[one["share"] for one in shown],
            orientation="h", marker={"color": [BLUE, *[BAND] * (len(shown) - 1)]},
            text=[f"{one['share']:.1%}, {one['saved_s']:.3g} s" for one in shown],
            textposition="outside", cliponaxis=False, hoverinfo="skip",
        )
    )  # fmt: skip
    style(figure, height=90 + 34 * len(shown))
    most = max(one["share"] for one in shown)
    figure.update_xaxes(
        title="share of the step that would be saved", tickformat=".0%", range=[0, 1.25 * most]
    )
    figure.update_yaxes(autorange="reversed")
    return figure


def shots_chart(lines: Sequence[ShotsLine]) -> Any:
    """Best so far over the fastest known, against measured runs."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, line in enumerate(lines):
        figure.add_scatter(
            x=list(range(1, len(line.best) + 1)), y=list(line.best), name=escape(line.name),
            mode="lines+markers", line={"shape": "hv", "color": RANK_COLOURS[place % 6]},
            hovertemplate="shot %{x}: %{y:.1%}<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0.99, line={"color": MUTED, "width": 1, "dash": "dot"})
    style(figure, height=330)
    figure.update_xaxes(title="measured runs, failed ones too", dtick=1 if _few(lines) else None)
    figure.update_yaxes(title="best so far", tickformat=".0%", range=[0, 1.03])
    return figure


def _few(lines: Sequence[ShotsLine]) -> bool:
    return max((len(line.best) for line in lines), default=0) <= 20

"""The page of a sweep: speed against chips, and every answer in a table."""

from __future__ import annotations

from html import escape
from typing import Any

import pandas as pd

from models.chart_style import style
from models.sharding.report.frame import framed
from models.sharding.report.style import RANK_COLOURS, chart

_COLUMNS = {
    "model": "model", "slice": "slice", "chips": "chips", "seq_len": "length",
    "global_batch": "batch", "layout": "layout", "step_s": "step s", "mfu": "MFU",
    "tokens_per_s_chip": "tokens/s/chip", "memory_share": "memory", "verified": "verified",
    "infeasible": "why none", "minimum_chips": "chips that would do",
}  # fmt: skip


def render_sweep(frame: pd.DataFrame) -> str:
    """Render a sweep as one HTML document with plotly inside; see `sweep_frame`."""
    body = (
        "<section><h2>Speed against chips</h2>"
        + chart("speed", "Tokens per second of the whole slice against its chips")
        + "<p>Filled: no other slice has as many tokens per second on as few chips.</p></section>"
        f"<section><h2>Answers</h2>{_table(frame)}</section>"
    )
    answered = int(frame["step_s"].notna().sum())
    lead = f"{len(frame):,} questions, {answered:,} with a layout."
    return framed("Sweep of shardings", lead, body, {"speed": _speeds(frame)})


def _table(frame: pd.DataFrame) -> str:
    shown = frame.sort_values(
        ["model", "seq_len", "global_batch", "tokens_per_s_chip"],
        ascending=[True, True, True, False],
    )
    head = "".join(f"<th>{escape(title)}</th>" for title in _COLUMNS.values())
    lines = []
    for row in shown.to_dict("records"):
        cells = "".join(f"<td>{escape(_cell(name, row[name]))}</td>" for name in _COLUMNS)
        lines.append(f"<tr class='{'best' if row['is_best'] else ''}'>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:
        return ""
    if name in ("mfu", "memory_share"):
        return f"{value:.0%}"
    if name in ("chips", "minimum_chips", "tokens_per_s_chip"):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _speeds(frame: pd.DataFrame) -> Any:
    from plotly import graph_objects as go

    figure = go.Figure()
    able = frame[frame["step_s"].notna()]
    groups = able.groupby(["model", "seq_len", "global_batch"], sort=False)
    for number, (key, part) in enumerate(groups):
        colour = RANK_COLOURS[number % len(RANK_COLOURS)]
        model, length, batch = key
        figure.add_scatter(
            x=part["chips"].tolist(),
            y=part["tokens_per_s"].tolist(),
            name=escape(f"{model}, {batch} x {length}"),
            text=[
                escape(f"{slice_}: {layout}")
                for slice_, layout in zip(part["slice"], part["layout"], strict=True)
            ],
            mode="markers",
            marker={
                "size": 11,
                "color": [colour if best else "#ffffff" for best in part["is_best"]],
                "line": {"color": colour, "width": 2},
            },
        )
    figure.update_xaxes(type="log", title="chips")
    figure.update_yaxes(type="log", title="tokens per second")
    return style(figure, 440)

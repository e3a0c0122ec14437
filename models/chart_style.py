"""Colours and axes that charts on all pages of the project share."""

from __future__ import annotations

from typing import Any

INK, MUTED, GRID, PAPER, BAND = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff", "#9db4c8"
# Okabe-Ito colours: told apart with any colour vision.
BLUE, GREEN, ORANGE, RED, PINK, SKY = (
    *("#0072b2", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#56b4e9"),
)


def style(figure: Any, height: int) -> Any:
    """Dark text on white, light grid, legend above the plot; returns the plotly figure."""
    figure.update_layout(
        height=height,
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        font={"family": "Inter, system-ui, sans-serif", "size": 13, "color": INK},
        margin={"l": 10, "r": 20, "t": 40, "b": 10},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        legend={"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True, linecolor=GRID)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True, linecolor=GRID)
    return figure

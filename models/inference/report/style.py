"""Colours and axes that the charts of this room share; as on the project's other pages."""

from __future__ import annotations

from typing import Any

INK, MUTED, GRID, PAPER = "#1f2933", "#7b8794", "#e4e7eb", "#ffffff"
# Okabe-Ito colours: told apart with any colour vision.
BLUE, GREEN, ORANGE, RED = "#0072b2", "#009e73", "#e69f00", "#d55e00"
KIND_COLOURS = {"prefix": BLUE, "prompt": ORANGE, "decode": GREEN}


def style(figure: Any, height: int) -> Any:
    """Dark text on white, light grid, legend above the plot."""
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


def as_html(figure: Any) -> str:
    """Return the chart as a part of a page that holds plotly already."""
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
    )
    return html

"""Colours of what an engine computes, and charts as parts of a page."""

from __future__ import annotations

from typing import Any

from models.chart_style import BLUE, GREEN, ORANGE

KIND_COLOURS = {"prefix": BLUE, "prompt": ORANGE, "decode": GREEN}


def as_html(figure: Any) -> str:
    """Return the chart as a part of a page that holds plotly already."""
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
    )
    return html

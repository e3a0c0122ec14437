"""Colours, axes and panels that all charts share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.chart_style import BLUE, GREEN, INK, MUTED, ORANGE, PINK, RED, SKY, style

RESERVED = "#d3dee9"
OUTCOME_COLOURS = {"completed": GREEN, "cancelled": RED}
# Those that compete for a plan in strong colours, baselines and peers in muted ones.
FORECASTER_COLOURS = {
    "xgb-quantile": BLUE,
    "type-quantile": GREEN,
    "xgb-aft": PINK,
    "xgb-hurdle": SKY,
    "body-p95": ORANGE,
    "type-p95": RED,
    "oracle": INK,
    "xgb-squared-error": "#8d6a9f",
    "type-p50": "#b08968",
    "type-p50x2": "#8a6f4d",
    "type-p90": "#c98b7a",
    "type-max": "#a3b18a",
    "type-ewma": "#6b9080",
    "type-survival": "#5f7f9e",
    "global-p95": "#9aa5b1",
}
ROLE_COLOURS = {
    "selected": GREEN,
    "existing": RED,
    "strong rule": ORANGE,
    "strong rule, informed": "#b37700",
    "oracle": INK,
}
# Three panels abreast are readable from 800 px on.
PANELS_ABREAST = 3


def colour_of(forecaster: str) -> str:
    """Return the colour of a forecaster; peers and unknown ones are grey."""
    return FORECASTER_COLOURS.get(forecaster, MUTED)


def panels(
    titles: Sequence[str],
    panel_height: int,
    x_title: str,
    y_title: str,
    abreast: int = PANELS_ABREAST,
) -> Any:
    """Make a figure of small panels with common axes, one per title (of one or two lines)."""
    from plotly.subplots import make_subplots

    n_columns = min(abreast, len(titles))
    n_rows = -(-len(titles) // n_columns)
    figure = make_subplots(
        rows=n_rows,
        cols=n_columns,
        subplot_titles=list(titles),
        shared_xaxes="all",
        shared_yaxes="all",
        x_title=x_title,
        y_title=y_title,
        horizontal_spacing=0.04,
        # Room for tick labels and a title of two lines, whatever the height of a panel.
        vertical_spacing=70 / (panel_height * n_rows),
    )
    style(figure, height=130 + panel_height * n_rows)
    figure.update_annotations(font={"size": 12, "color": INK})
    # The titles of panels and axes are annotations, which margins do not make room for; the
    # legend sits above those of the panels and pushes the margin as far as it needs.
    figure.update_annotations(selector={"text": y_title}, xshift=-62)
    figure.update_layout(
        margin={"t": 64, "l": 86, "b": 56}, legend={"y": 1 + 44 / (panel_height * n_rows)}
    )
    # Where the lowest row is not full, the panels above it need their own labels.
    figure.update_xaxes(showticklabels=True)
    return figure


def place_of(number: int, n_panels: int, abreast: int = PANELS_ABREAST) -> dict[str, int]:
    """Row and column of a panel, counted from 0."""
    n_columns = min(abreast, n_panels)
    return {"row": number // n_columns + 1, "col": number % n_columns + 1}


def as_html(figure: Any) -> str:
    """Return the chart as a part of a page that holds plotly already."""
    html: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displayModeBar": False, "responsive": True},
    )
    return html

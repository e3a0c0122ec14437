"""Coverage page: one HTML file of operators by type and target, with every session behind it.

model.py    what the page shows             figures.py  counts with denominators, heat maps
treemap.py  rectangles                      charts.py   map and curve as SVG
page.py     the document; web/ holds its template, style and script
from_ledger.py  what a ledger says    traces.py  what a session's trace says
"""

from models.kernels.coverage_page.from_ledger import page_of
from models.kernels.coverage_page.model import (
    AttemptView,
    CoverageView,
    EventView,
    FailureView,
    OperatorView,
    compiled_matrix,
)
from models.kernels.coverage_page.page import render_page

__all__ = [
    "AttemptView",
    "CoverageView",
    "EventView",
    "FailureView",
    "OperatorView",
    "compiled_matrix",
    "page_of",
    "render_page",
]

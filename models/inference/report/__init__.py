"""The page of a batch job: one HTML file that needs no network.

numbers.py  all that the charts draw, as JSON     charts.py  draws them
page.py     words, tiles and the page             style.py   colours and axes
"""

from models.inference.report.numbers import report_numbers
from models.inference.report.page import render_report

__all__ = ["render_report", "report_numbers"]

"""The report of a plan: one self-contained HTML file and the same numbers as plain JSON.

page.py the file and its words   charts.py   its four charts   figures.py   plain numbers.
"""

from models.upgrades.report.figures import figures
from models.upgrades.report.page import render_report

__all__ = ["figures", "render_report"]

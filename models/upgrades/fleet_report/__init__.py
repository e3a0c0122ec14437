"""The report of a fleet's plan: one self-contained HTML file, the same numbers as plain JSON.

inputs.py  what it is made from      figures.py  all numbers; their parts in
words.py   its sentences             timeline.py (lanes, days, caps) and waves.py
page.py    the file, scripts.py its  charts.py   draws them, search.py its tables
"""

from models.upgrades.fleet_report.figures import fleet_figures
from models.upgrades.fleet_report.inputs import FleetReportInputs
from models.upgrades.fleet_report.page import render_fleet_report

__all__ = ["FleetReportInputs", "fleet_figures", "render_fleet_report"]

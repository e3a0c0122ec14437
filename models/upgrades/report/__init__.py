"""The report of a plan: one self-contained HTML file and the same numbers as plain JSON.

inputs.py   what it is made from        figures.py  all numbers; their parts in
page.py     the file                    policy_figures.py, plan_figures.py, forecast_figures.py
words.py    its sentences, caveats      policy_charts.py, plan_charts.py, forecast_charts.py
tables.py   its tables                  draw them     chart_style.py  colours, panels
"""

from models.upgrades.report.figures import figures
from models.upgrades.report.inputs import ReportInputs
from models.upgrades.report.page import render_report

__all__ = ["ReportInputs", "figures", "render_report"]

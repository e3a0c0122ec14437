"""The page of a sharding plan: one HTML file that needs no network; its tables need no script.

inputs.py   what the page is about              numbers.py  all that it shows, as JSON
page.py     words, sections and the frame       tables.py   tables that stand without script
charts.py   charts drawn by plotly              chips.py    which chip has which place of an axis
torus.py    chips with axis colours, as SVG     specs.py    arrays x dimensions -> mesh axes
style.py    colours, axes, the packed plotly  frame.py  the frame of the two pages below
site_page.py, sweep_page.py  the pages of a calibration and of a sweep
"""

from models.sharding.report.inputs import PlanReportInput, ShotsLine
from models.sharding.report.numbers import report_numbers
from models.sharding.report.page import render_report

__all__ = ["PlanReportInput", "ShotsLine", "render_report", "report_numbers"]

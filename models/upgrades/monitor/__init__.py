"""Watch the forecasts of a planned fleet: coverage, loss, drift, cost; say what to do.

config.py   MonitorConfig        rolling.py  coverage, pinball, tails per period and type
drift.py    PSI, Page-Hinkley, adaptive windows    spend.py   cost against the promise
watch.py    all of it on one history    verdict.py  rules, in order of severity
page.py     one HTML page        summary.py  figures
"""

from models.upgrades.monitor.config import MonitorConfig
from models.upgrades.monitor.drift import adaptive_windows, page_hinkley, psi
from models.upgrades.monitor.page import render_page
from models.upgrades.monitor.summary import monitor_metrics, monitor_summary
from models.upgrades.monitor.verdict import Action, Rule, Verdict, judge
from models.upgrades.monitor.watch import Watch, watch

__all__ = [
    "Action",
    "MonitorConfig",
    "Rule",
    "Verdict",
    "Watch",
    "adaptive_windows",
    "judge",
    "monitor_metrics",
    "monitor_summary",
    "page_hinkley",
    "psi",
    "render_page",
    "watch",
]

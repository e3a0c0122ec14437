"""Run times: how long scheduled flow runs take, and when each should start.

The duration forecasters of this room, turned on the flow runs of a Prefect server.

config.py    what a forecast of runs is made of   table.py     runs as a table; files of others
history.py   runs as a history of this room       forecast.py  quantiles per deployment
empirical.py quantiles of few runs                judge.py     walk forward beside trivial rules
cron.py      when a schedule is due               deployment.py what has a schedule, its limits
timeline.py  who waits for whom                   propose.py   start times without waiting
search.py    how they are looked for              changes.py   what would be written, and back
page.py, charts.py, summary.py  for people
"""

from models.upgrades.run_times.changes import (
    ScheduleChange,
    Written,
    read_changes,
    refuse_foreign,
)
from models.upgrades.run_times.config import ForecastRunsConfig
from models.upgrades.run_times.deployment import Deployment, DeploymentSchedule
from models.upgrades.run_times.forecast import RunForecast, forecast_runs
from models.upgrades.run_times.page import RunReport, page_figures, render_page
from models.upgrades.run_times.propose import Proposal, propose_schedule
from models.upgrades.run_times.summary import run_metrics, run_summary, words_of
from models.upgrades.run_times.table import RunTable, read_runs_file, run_table

__all__ = [
    "Deployment",
    "DeploymentSchedule",
    "ForecastRunsConfig",
    "Proposal",
    "RunForecast",
    "RunReport",
    "RunTable",
    "ScheduleChange",
    "Written",
    "forecast_runs",
    "page_figures",
    "propose_schedule",
    "read_changes",
    "read_runs_file",
    "refuse_foreign",
    "render_page",
    "run_metrics",
    "run_summary",
    "run_table",
    "words_of",
]

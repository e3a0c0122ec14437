"""The one place that knows MLflow: a run per flow, linked to its Prefect run and back.

run.py       tracked_run and TrackedRun: params, metrics, artifacts, child runs
mlflow_store.py  the MLflow server or database
spool.py     the same calls kept on disk while the server is unreachable; replay
links.py     addresses and tags that join an MLflow run and a Prefect run
history.py   recent runs, for `loom runs`
artifacts.py files of earlier runs    traces.py traces of agents
registry.py  versions of forecasters and their aliases
model_files.py, pyfunc.py  what a version holds, and how MLflow serves it
"""

from tasks.track.history import RecentRun, recent_runs
from tasks.track.orphans import MESSAGE, close_orphaned_runs
from tasks.track.prefect_side import mark_crashed, prefect_side, show_table
from tasks.track.run import TrackedRun, close_abandoned_run, tracked_run
from tasks.track.spool import replay_spool, spooled_runs
from tasks.track.store import TraceRecord

__all__ = [
    "MESSAGE",
    "RecentRun",
    "TraceRecord",
    "TrackedRun",
    "close_abandoned_run",
    "close_orphaned_runs",
    "mark_crashed",
    "prefect_side",
    "recent_runs",
    "replay_spool",
    "show_table",
    "spooled_runs",
    "tracked_run",
]

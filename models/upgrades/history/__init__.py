"""Histories: tables of several schemas become one table of canonical events.

base.py         History, what every reader needs    sources.py  which schema, load, check
lanl.py         LANL outages (bundled)              grid5000.py Grid'5000 unavailability
wfinstances.py  workflow tasks without start times  imported.py an operator's own history
mapping.py      its columns and values              clock.py    its times
doubts.py       what in it looks like a mistake
"""

from models.upgrades.history.base import UNKNOWN, EventTimeError, History
from models.upgrades.history.grid5000 import grid5000_events
from models.upgrades.history.imported import import_table, imported_events
from models.upgrades.history.lanl import HARDWARE, REQUIRED, canonical_events
from models.upgrades.history.mapping import HistoryMapping, read_mapping
from models.upgrades.history.sources import (
    SOURCES,
    LoadedTable,
    Source,
    detect_source,
    load_history,
    load_table,
    read_events,
)
from models.upgrades.history.wfinstances import TaskRuns, task_runs

__all__ = [
    "HARDWARE",
    "REQUIRED",
    "SOURCES",
    "UNKNOWN",
    "EventTimeError",
    "History",
    "HistoryMapping",
    "LoadedTable",
    "Source",
    "TaskRuns",
    "canonical_events",
    "detect_source",
    "grid5000_events",
    "import_table",
    "imported_events",
    "load_history",
    "load_table",
    "read_events",
    "read_mapping",
    "task_runs",
]

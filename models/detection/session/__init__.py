"""A session of an AI agent, as every part of this room sees it.

events.py    Event, ToolCall, ToolManifest: immutable, versioned, with four kinds of edges
session.py   Session and Coverage: a checked DAG of events, and how much of the record was read
"""

from models.detection.session.events import SCHEMA, Event, Kind, Status, ToolCall, ToolManifest
from models.detection.session.session import Coverage, Quarantined, Session

__all__ = [
    "SCHEMA", "Coverage", "Event", "Kind", "Quarantined", "Session", "Status", "ToolCall",
    "ToolManifest",
]  # fmt: skip

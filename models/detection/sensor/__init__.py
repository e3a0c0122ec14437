"""The sensor: reads what AI agents leave on a machine, whole, and keeps it without credentials.

base.py      what a parser does; how a file is known again   draft.py   a session while it is read
jsonl.py     lines and JSON that nobody vouches for          values.py  values of any shape
claude_code.py, claude_branches.py     codex.py, codex_notes.py     cursor.py, cursor_bubbles.py
cline.py, cline_api.py, cline_xml.py, cline_ui.py     gemini.py, gemini_messages.py
openhands.py     loom_agents.py, loom_events.py     mcp_tap.py         one format each
snapshot.py  a copy of a live SQLite database                tap.py     tee of an MCP server
store.py     what was collected                              collect.py all formats into a store
redaction.py credentials struck out of it
inventory.py MCP servers, skills, rule files by digest       fuzz.py    samples, broken at random
packages.py  packages that servers are started from          inventory_history.py  and over time
"""

from models.detection.sensor.base import ReadPosition, Source, TraceParser
from models.detection.sensor.collect import ALL, Collection, collect, read_log
from models.detection.sensor.inventory import compare, inventory
from models.detection.sensor.inventory_history import InventoryHistory
from models.detection.sensor.store import Store

__all__ = [
    "ALL", "Collection", "InventoryHistory", "ReadPosition", "Source", "Store", "TraceParser",
    "collect", "compare", "inventory", "read_log",
]  # fmt: skip

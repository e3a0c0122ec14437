"""Tools: what an agent can do. base.py says how to write one, context.py what it gets to see."""

from models.agents.errors import ToolError
from models.agents.tools.base import WORKSPACE, Observation, Tool, no_locks, tool
from models.agents.tools.context import Cancellation, Session, ToolContext

__all__ = [
    "WORKSPACE",
    "Cancellation",
    "Observation",
    "Session",
    "Tool",
    "ToolContext",
    "ToolError",
    "no_locks",
    "tool",
]

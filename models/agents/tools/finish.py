"""The two tools that every agent has: think, and finish."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from models.agents.events.sayable import dumps
from models.agents.tools.base import Observation, Tool, no_locks, tool


@tool(read_only=True, idempotent=True, locks=no_locks)
async def think(thought: str) -> str:
    """Write down a thought: a plan, a doubt, what was learnt. Nothing happens.

    Args:
        thought: What to remember.
    """
    return "noted"


@tool(read_only=True, idempotent=True, locks=no_locks)
async def finish(message: str) -> str:
    """End the work. Call it when the task is done, or when it cannot be done.

    Args:
        message: What was done or found, for whoever gave the task.
    """
    return message


def finish_with(kind: type[Any]) -> Tool:
    """Return a finish tool that takes a typed result."""
    adapter = TypeAdapter(kind)

    async def finish(result: Any, message: str = "") -> Observation:
        """End the work with its result.

        Args:
            result: The result that was asked for.
            message: What to say beside it.
        """
        value = adapter.dump_python(result, mode="json")
        return Observation(message or dumps(value)[0].decode(), data={"value": value})

    finish.__annotations__ = {"result": kind, "message": str, "return": Observation}
    return tool(read_only=True, idempotent=True, locks=no_locks)(finish)

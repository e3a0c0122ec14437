"""The plan of a conversation: a list that the model keeps and people see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.agents.tools.base import Observation, tool
from models.agents.tools.context import ToolContext

_SIGNS = {"todo": "[ ]", "doing": "[>]", "done": "[x]", "dropped": "[-]"}


class TodoItem(BaseModel):
    """One step of a plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    title: str = Field(min_length=1, max_length=300)
    """What is to be done, in a line."""
    status: Literal["todo", "doing", "done", "dropped"] = "todo"
    """How far it is."""


def _plan_lock() -> Iterable[str]:
    # No path can be spelled like this: it meets nothing but itself.
    return ("\x00plan",)


@tool(idempotent=True, locks=_plan_lock)
def todo(ctx: ToolContext, items: list[TodoItem] | None = None) -> Observation:
    """Write the plan anew, or read it. Use it for work of several steps; keep one step `doing`.

    Args:
        items: The whole plan in order; leave it out to read the plan as it is.
    """
    if items is None:
        plan = [TodoItem.model_validate(dict(entry)) for entry in ctx.plan]
        return Observation(_written(plan))
    return Observation(_written(items), data={"todo": [item.model_dump() for item in items]})


def _written(items: list[TodoItem]) -> str:
    if not items:
        return "the plan is empty"
    lines = [
        f"{number}. {_SIGNS[item.status]} {item.title}" for number, item in enumerate(items, 1)
    ]
    open_steps = sum(item.status in ("todo", "doing") for item in items)
    return "\n".join([*lines, f"{open_steps} of {len(items)} steps are open"])

"""Delegation: other agents work on parts, in logs of their own, with what is left to spend."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from models.agents.errors import ToolError
from models.agents.events.types import Spent
from models.agents.tools.base import Observation, Tool, no_locks, tool
from models.agents.tools.context import ToolContext
from models.llm import Usage

if TYPE_CHECKING:
    from models.agents.agent import Agent

_LONGEST_NAME = 40

MOST_DEPTH = 3
"""Conversations that delegate to conversations that delegate."""


class Part(BaseModel):
    """A part of the work."""

    agent: str
    task: str
    resume: str = ""


def delegate_tool(agents: Mapping[str, Agent]) -> Tool:
    """Return the tool with which an agent gives work to others."""

    # Declared idempotent: the conversations of the parts are named after the call, so a call that
    # is run again after a crash goes on with them and begins nothing twice.
    @tool(idempotent=True, locks=no_locks)
    async def delegate(parts: list[Part], ctx: ToolContext) -> Observation:
        """Give parts of the work to other agents, which work at the same time, and wait for all.

        Args:
            parts: For each: the name of the agent, its task with all that it must know, and
                optionally `resume`, the id of an earlier part to go on with.
        """
        unknown = sorted({part.agent for part in parts} - {*agents})
        if unknown:
            raise ToolError(f"no agent {', '.join(unknown)}; there are: {', '.join(agents)}")
        if _depth(ctx.conversation_id) >= MOST_DEPTH:
            raise ToolError(f"work may be delegated {MOST_DEPTH} levels deep; do it yourself")
        done = await asyncio.gather(
            *(_work(agents[part.agent], part, place, ctx) for place, part in enumerate(parts))
        )
        return Observation(
            "\n\n".join(text for text, _ in done), not any(is_ok for _, is_ok in done)
        )

    return delegate


async def _work(agent: Agent, part: Part, place: int, ctx: ToolContext) -> tuple[str, bool]:
    host = ctx.host
    if part.resume and not host.home.exists(f"{host.id}.{part.resume}"):
        raise ToolError(f"no earlier part '{part.resume}' to resume; leave `resume` out")
    name = part.resume or f"{_safe(ctx.call_id)}-{place}"
    child = host.child(agent, name)
    try:
        before = child.state
        is_begun = before.seq > 0 and not part.resume
        outcome = await (child.run() if is_begun else child.send(part.task))
        after = child.state
        # What an earlier process spent on this very call is in no log of the parent yet.
        since = type(before)() if is_begun else before
        host.charge(
            Spent(
                f"delegate:{child.id}",
                Usage(
                    after.prompt_tokens - since.prompt_tokens,
                    after.cached_tokens - since.cached_tokens,
                    after.completion_tokens - since.completion_tokens,
                ),
                after.cost_usd - since.cost_usd,
                after.steps - since.steps,
            )
        )
        told = outcome.text if outcome.ok else f"not finished, {outcome.phase}: {outcome.reason}"
        return f"[{part.agent}, {name}] {told}", outcome.ok
    finally:
        await child.aclose()


def _safe(call_id: str) -> str:
    """Return a call's id as a part of a file's name."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", call_id)
    if name == call_id and len(name) <= _LONGEST_NAME:
        return name
    # Two ids that were bent into one name must not share a conversation.
    return f"{name[:_LONGEST_NAME]}_{hashlib.sha256(call_id.encode()).hexdigest()[:8]}"


def _depth(conversation_id: str) -> int:
    return conversation_id.count(".")

"""Delegation: other agents work on parts, in logs of their own, with what is left to spend."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel

from models.agents.errors import LogError, ToolError
from models.agents.events.types import Spent
from models.agents.runs import Outcome
from models.agents.state import State
from models.agents.tools.base import Observation, Tool, no_locks, tool
from models.agents.tools.context import ToolContext
from models.llm import Usage

if TYPE_CHECKING:
    from models.agents.agent import Agent
    from models.agents.conversation import Conversation

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
        host: Conversation = ctx.host
        names = [part.resume or f"{_safe(ctx.call_id)}-{n}" for n, part in enumerate(parts)]
        # All of it before any begins: nothing may go on that nobody waits for.
        _check(parts, names, agents, host)
        work = (
            _work(agents[part.agent], part, name, host)
            for part, name in zip(parts, names, strict=True)
        )
        # Waits for all even when one fails or the call is cancelled.
        ends = await asyncio.gather(*work, return_exceptions=True)
        told, is_ok = [], False
        for part, name, end in zip(parts, names, ends, strict=True):
            if isinstance(end, Outcome):
                text = end.text if end.ok else f"not finished, {end.phase}: {end.reason}"
                is_ok = is_ok or end.ok
            else:
                text = f"failed, {type(end).__name__}: {end}"
            told.append(f"[{part.agent}, {name}] {text}")
        return Observation("\n\n".join(told), not is_ok)

    return delegate


def _check(
    parts: Sequence[Part], names: Sequence[str], agents: Mapping[str, Agent], host: Conversation
) -> None:
    unknown = sorted({part.agent for part in parts} - {*agents})
    if unknown:
        raise ToolError(f"no agent {', '.join(unknown)}; there are: {', '.join(agents)}")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise ToolError(
            f"two parts go on with {', '.join(twice)}; give it one task that holds both"
        )
    if _depth(host) >= MOST_DEPTH:
        raise ToolError(f"work may be delegated {MOST_DEPTH} levels deep; do it yourself")
    for part, name in zip(parts, names, strict=True):
        found = _parent(host, f"{host.id}.{name}")
        if part.resume and found != host.id:
            raise ToolError(f"no earlier part '{name}' to resume; leave `resume` out")
        if found not in (None, host.id):
            raise ToolError(
                f"conversation '{host.id}.{name}' is there already and no part of this one; "
                "delegate in a new call"
            )


def _parent(host: Conversation, conversation_id: str) -> str | None:
    """Return who delegated to a conversation, as its log says; None: it has not begun."""
    try:
        if not host.home.exists(conversation_id):
            return None
    except LogError:
        return None  # no conversation can have such a name
    with contextlib.closing(host.home.open(conversation_id)) as log:
        return log.state.parent_conversation if log.state.seq else None


def _depth(host: Conversation) -> int:
    """Count who delegated, in turn, as logs say: names may have dots of their own."""
    depth, above = 0, host.state.parent_conversation
    while above and depth < MOST_DEPTH:
        depth, above = depth + 1, _parent(host, above) or ""
    return depth


async def _work(agent: Agent, part: Part, name: str, host: Conversation) -> Outcome:
    child = host.child(agent, name)
    try:
        before = child.state
        is_begun = before.seq > 0 and not part.resume
        # What an earlier process spent on this very call is in no log of the parent yet.
        since = State() if is_begun else before
        try:
            return await (child.run() if is_begun else child.send(part.task))
        finally:
            _charge(host, child, since)
    finally:
        await child.aclose()


def _charge(host: Conversation, child: Conversation, since: State) -> None:
    now = child.state
    usage = Usage(
        now.prompt_tokens - since.prompt_tokens,
        now.cached_tokens - since.cached_tokens,
        now.completion_tokens - since.completion_tokens,
    )
    cost_usd, steps = now.cost_usd - since.cost_usd, now.steps - since.steps
    host.charge(Spent(f"delegate:{child.id}", usage, cost_usd, steps))


def _safe(call_id: str) -> str:
    """Return a call's id as a part of a file's name."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", call_id)
    if name == call_id and len(name) <= _LONGEST_NAME:
        return name
    # Two ids that were bent into one name must not share a conversation.
    return f"{name[:_LONGEST_NAME]}_{hashlib.sha256(call_id.encode()).hexdigest()[:8]}"

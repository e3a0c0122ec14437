"""From what a model asked for to what may run: ids, arguments, hooks, risk, approval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from models.agents.errors import ToolArgumentsError
from models.agents.events.types import Intent, Result
from models.agents.hooks import Hook, run_hooks
from models.agents.security.approvals import digest
from models.agents.security.base import Risk, SecurityAnalyzer, rated
from models.agents.security.policy import Policy
from models.agents.tools.execute import Ready
from models.agents.tools.registry import Registry
from models.llm import Message, ToolCall
from models.llm.errors import MalformedReplyError

MOST_CALLS = 256
"""Of one answer that are run: all are begun, and stored, at once."""


@dataclass(frozen=True)
class Prepared:
    """A call with what was decided about it: it is ready, or it has its result already."""

    intent: Intent
    ready: Ready | None = None
    refusal: Result | None = None


def with_own_ids(message: Message, is_taken: Callable[[str], bool], seq: int) -> Message:
    """Return an answer whose calls have ids of their own, whatever the model named them.

    Models repeat ids after a rewind or a condensation, some give none; in the log an id is for
    ever.

    Args:
        message: The answer.
        is_taken: Whether a call of the log has this id.
        seq: Number of the answer's event, for names that are new.
    """
    seen: set[str] = set()
    calls = []
    for place, call in enumerate(message.tool_calls):
        call_id = call.id
        if not call_id or call_id in seen or is_taken(call_id):
            call_id = f"{call_id or 'call'}-{seq}-{place}"
        seen.add(call_id)
        calls.append(call if call_id == call.id else replace(call, id=call_id))
    return replace(message, tool_calls=tuple(calls)) if calls else message


def ready_call(call: ToolCall, registry: Registry) -> Ready | str:
    """Return a call with typed arguments, or why there is none, for the model to read."""
    tool = registry.get(call.name)
    if tool is None:
        near = get_close_matches(call.name, registry.names, n=1)
        guess = f"did you mean '{near[0]}'? " if near else ""
        return f"no tool named '{call.name}'; {guess}tools: {', '.join(registry.names)}"
    try:
        return Ready(call.id, tool, tool.validate(call.parsed()))
    except (ToolArgumentsError, MalformedReplyError) as error:
        return str(error)


@dataclass(frozen=True)
class Preparer:
    """Decides about the calls of one answer."""

    registry: Registry
    policy: Policy
    analyzer: SecurityAnalyzer | None
    analyzer_timeout_s: float
    hooks: Sequence[Hook]

    async def prepare(
        self, calls: Sequence[ToolCall], history: Sequence[Message]
    ) -> list[Prepared]:
        """Return the calls in their order, with what was decided."""
        why = f"not run: one answer may hold {MOST_CALLS} calls; ask for the others again"
        work = (self._prepare(call, history) for call in calls[:MOST_CALLS])
        beyond = [_beyond(call, why) for call in calls[MOST_CALLS:]]
        return [*await asyncio.gather(*work), *beyond]

    async def _prepare(self, call: ToolCall, history: Sequence[Message]) -> Prepared:
        ready = ready_call(call, self.registry)
        if isinstance(ready, str):
            return self._refused(call, ready)
        call = call.plain()  # what runs, and not how the model spelled it
        facts = {"call_id": call.id, "arguments": call.arguments}
        for verdict in await run_hooks(self.hooks, "PreToolUse", facts, call.name):
            if verdict.blocks:
                return self._refused(call, f"a hook forbids this call: {verdict.message}")
        risk = None
        if self.analyzer is not None:
            risk = await rated(self.analyzer, call, history, self.analyzer_timeout_s)
        return self._decided(call, ready, risk)

    def _decided(self, call: ToolCall, ready: Ready, risk: Risk | None) -> Prepared:
        intent = Intent(
            call.id,
            call.name,
            call.arguments,
            digest(call),
            reruns=ready.tool.read_only or ready.tool.idempotent,
            waits=self.policy.asks(ready.tool, risk),
            risk=risk.level if risk else "",
            reasons=risk.reasons if risk else (),
            evidence=risk.evidence if risk else {},
        )
        return Prepared(intent, ready)

    def _refused(self, call: ToolCall, why: str) -> Prepared:
        intent = Intent(call.id, call.name, call.arguments, digest(call), reruns=True)
        return Prepared(intent, refusal=Result(call.id, call.name, why, "error"))


def _beyond(call: ToolCall, why: str) -> Prepared:
    # Without a digest: thousands of them must cost next to nothing.
    intent = Intent(call.id, call.name, call.arguments, reruns=True)
    return Prepared(intent, refusal=Result(call.id, call.name, why, "error"))

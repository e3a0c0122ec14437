"""Approvals without people: rules over waiting calls, the first that fits decides."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain
from typing import Any, Literal

from pydantic import Field, field_validator

from models.agents.conversation import Conversation
from models.agents.events import Intent
from models.agents.store.base import Log
from models.config import Config
from models.llm import ToolCall


class ApprovalRule(Config):
    """One rule."""

    tool: str = "*"
    """Name of the tool; `*` stands for any letters."""
    match: str = ""
    """Regular expression; empty: any. It is searched in the arguments as the tool gets them, as
    JSON with sorted names and no spaces (`{"command":"ls","timeout_s":5}`), and, unless the rule
    approves, in each of their texts: what must not be there is found wherever it stands."""
    risk: tuple[Literal["low", "medium", "high", "unknown", ""], ...] = ()
    """Risks that fit; none: any. Empty text: nobody rated the call."""
    do: Literal["approve", "reject", "wait"] = "wait"
    """What becomes of the call."""
    why: str = ""
    """What the model reads when it is rejected."""

    @field_validator("match")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"this is no regular expression: {error}") from None
        return value

    def fits(self, intent: Intent) -> bool:
        """Whether the rule decides about a call."""
        return (
            fnmatchcase(intent.name, self.tool)
            and (not self.risk or intent.risk in self.risk)
            and any(re.search(self.match, text) for text in self._texts(intent))
        )

    def _texts(self, intent: Intent) -> Iterator[str]:
        call = ToolCall(intent.call_id, intent.name, intent.arguments)
        yield call.plain().arguments
        if self.do != "approve":
            yield from _texts_in(call.parsed())


def _texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in chain(value, value.values()) if isinstance(value, dict) else value:
            yield from _texts_in(item)


class Approvals(Config):
    """Who decides about calls that wait."""

    rules: tuple[ApprovalRule, ...] = Field(())
    """In order; a call that none fits waits for a person."""

    def rule_for(self, intent: Intent) -> ApprovalRule:
        """Return the rule that decides about a call."""
        return next((rule for rule in self.rules if rule.fits(intent)), ApprovalRule())


def waiting_in(log: Log) -> list[Intent]:
    """Return the calls that wait for somebody's decision."""
    found = []
    for call in log.state.open_calls():
        if call.waits and not call.approved:
            intent = log.spans([(call.seq, call.seq)])[0].body
            assert isinstance(intent, Intent)
            found.append(intent)
    return found


async def decide(conversation: Conversation, approvals: Approvals) -> Sequence[str]:
    """Approve and reject what the rules say.

    Returns:
        Ids of the calls that were decided; empty: all go on waiting.
    """
    decided = []
    for call in waiting_in(conversation.store):
        rule = approvals.rule_for(call)
        if rule.do == "approve":
            await conversation.approve(call.call_id, digest=call.digest, by="rule")
        elif rule.do == "reject":
            await conversation.reject(call.call_id, rule.why or "a rule forbids it")
        else:
            continue
        decided.append(call.call_id)
    return decided

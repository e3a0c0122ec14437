"""Approvals without people: rules over waiting calls, the first that fits decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field, field_validator

from models.agents.conversation import Conversation
from models.agents.events import Intent
from models.agents.store.base import Log
from models.config import Config


class ApprovalRule(Config):
    """One rule."""

    tool: str = "*"
    """Name of the tool; `*` stands for any letters."""
    match: str = ""
    """Regular expression that the arguments must contain; empty: any."""
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
            and bool(re.search(self.match, intent.arguments))
        )


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

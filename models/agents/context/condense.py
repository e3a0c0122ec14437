"""Condensers: when a history grows long, its middle gives way to a summary.

The log keeps everything; only the view shrinks. A condensation is an event, so it survives a
restart and a rewind takes it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from models.agents.context.view import Cut, View
from models.llm import LanguageModel, LanguageModelError, Message, Options, Reply, Request, user
from models.llm.errors import BudgetExceededError

SHRINK = 0.6
"""How much of the usual tail is kept when the context overflowed; each try halves the rest."""

_ASK = (
    "Summarise this part of a conversation between a user and an agent with tools, so that the "
    "agent can go on without it. Keep: what the user wants, decisions and their reasons, names of "
    "files, what was done, what failed, what is left to do. Be brief."
)
_MESSAGE_CHARS = 2_000
_ALL_CHARS = 120_000


@dataclass(frozen=True)
class Condensation:
    """A summary and what it stands for."""

    cut: Cut
    summary: str
    reply: Reply | None = None
    """What the model took that wrote it; None: no model did."""
    failure: str = ""
    """Why no model did, where one should have."""


class Condenser(Protocol):
    """Decides when to condense, and how."""

    def wants(self, view: View) -> bool:
        """Whether the view is too long."""

    async def condense(
        self, view: View, model: LanguageModel, *, squeeze: int = 0
    ) -> Condensation | None:
        """Return a condensation; None: nothing can be left out.

        Args:
            view: What to condense.
            model: The agent's own, under its budget.
            squeeze: How often the context overflowed in spite of this condenser; above 0 it
                must make room whether it wants to or not.
        """


@dataclass(frozen=True)
class NoCondenser:
    """Never condenses; a history that overflows the context ends the run."""

    def wants(self, view: View) -> bool:
        """No."""
        return False

    async def condense(
        self, view: View, model: LanguageModel, *, squeeze: int = 0
    ) -> Condensation | None:
        """Return nothing."""
        return None


@dataclass(frozen=True)
class SummarisingCondenser:
    """Keeps the beginning and the end, and lets a model sum up the middle."""

    most_items: int = 240
    """Messages, or answers with their results, above which it condenses."""
    most_tokens: int | None = None
    """Estimated tokens of the view above which it condenses; None: any."""
    keep_first: int = 2
    """Items of the beginning that stay, the system prompt not counted."""
    model: LanguageModel | None = None
    """Writes the summary; None: the agent's own."""

    def wants(self, view: View) -> bool:
        """Whether there are too many items or tokens."""
        too_long = self.most_tokens is not None and view.tokens > self.most_tokens
        return too_long or len(view.items) > self.most_items

    async def condense(
        self, view: View, model: LanguageModel, *, squeeze: int = 0
    ) -> Condensation | None:
        """Condense to about half of what is allowed, or of what is there."""
        half = min(self.most_items, len(view.items)) // 2 - self.keep_first
        tail = max(1, int(half * SHRINK) if squeeze else half)
        keep = self.keep_first if squeeze < 3 else 0
        cut = view.cut(keep, tail)
        while cut is None and squeeze and tail > 1:
            tail //= 2
            cut = view.cut(keep, tail)
        if cut is None:
            return None
        try:
            reply = await (self.model or model).generate(_request(cut.hidden))
        except BudgetExceededError:
            raise
        except LanguageModelError as error:
            return Condensation(
                cut, outline(cut.hidden), failure=f"{type(error).__name__}: {error}"
            )
        if not reply.text.strip():
            return Condensation(cut, outline(cut.hidden), reply, "the summary was empty")
        return Condensation(cut, reply.text.strip(), reply)


@dataclass(frozen=True)
class Pipeline:
    """Several condensers: the first that wants to, does; the first that can, must."""

    condensers: Sequence[Condenser]

    def wants(self, view: View) -> bool:
        """Whether any wants to."""
        return any(condenser.wants(view) for condenser in self.condensers)

    async def condense(
        self, view: View, model: LanguageModel, *, squeeze: int = 0
    ) -> Condensation | None:
        """Return the first condensation that one of them finds."""
        for condenser in self.condensers:
            if squeeze or condenser.wants(view):
                found = await condenser.condense(view, model, squeeze=squeeze)
                if found is not None:
                    return found
        return None


@dataclass(frozen=True)
class OutlineCondenser:
    """Asks no model: leaves a list of what was said and called."""

    most_items: int = 240
    keep_first: int = 2

    def wants(self, view: View) -> bool:
        """Whether there are too many items."""
        return len(view.items) > self.most_items

    async def condense(
        self, view: View, model: LanguageModel, *, squeeze: int = 0
    ) -> Condensation | None:
        """Condense to about half."""
        half = min(self.most_items, len(view.items)) // 2 - self.keep_first
        cut = view.cut(self.keep_first, max(1, int(half * SHRINK) if squeeze else half))
        return None if cut is None else Condensation(cut, outline(cut.hidden))


def outline(messages: Sequence[Message]) -> str:
    """List what was said and called, without a model: first words and names of tools."""
    lines = [f"{len(messages)} messages were left out. In short:"]
    for message in messages:
        if message.role == "tool":
            continue
        words = " ".join(message.text.split())[:120]
        calls = ", ".join(call.name for call in message.tool_calls)
        told = "; ".join(part for part in (words, f"called {calls}" if calls else "") if part)
        if told:
            lines.append(f"- {message.role}: {told}")
    if len(lines) > 60:
        lines = [*lines[:30], f"- ({len(lines) - 60} more)", *lines[-30:]]
    return "\n".join(lines)


def _request(hidden: Sequence[Message]) -> Request:
    told = "\n\n".join(_told(message) for message in hidden)
    if len(told) > _ALL_CHARS:
        half = _ALL_CHARS // 2
        told = f"{told[:half]}\n\n(cut)\n\n{told[-half:]}"
    return Request((user(f"{_ASK}\n\n{told}"),), Options(max_tokens=1_500), purpose="condense")


def _told(message: Message) -> str:
    calls = "".join(f"\n{call.name}({call.arguments[:500]})" for call in message.tool_calls)
    text = message.text
    if len(text) > _MESSAGE_CHARS:
        half = _MESSAGE_CHARS // 2
        text = f"{text[:half]} ... {text[-half:]}"
    return f"[{message.role}] {text}{calls}"

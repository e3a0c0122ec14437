"""Critics: somebody who looks at the work before it counts as finished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, Field

from models.llm import LanguageModel, Message, Request, Usage, user


@dataclass(frozen=True)
class Score:
    """What a critic thinks of the work."""

    value: float
    """0 (useless) to 1 (done)."""
    advice: str = ""
    """What to do better."""
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    cost_usd: float | None = 0.0


class Critic(Protocol):
    """Scores work; the agent goes on until the threshold is reached or the rounds are over."""

    @property
    def threshold(self) -> float:
        """Score from which the work is good enough."""

    @property
    def rounds(self) -> int:
        """How often the agent may be sent back."""

    async def score(self, history: Sequence[Message], final: str, model: LanguageModel) -> Score:
        """Score the work.

        Args:
            history: What the agent saw and did.
            final: What it says in the end.
            model: The agent's own model, under its budget.
        """


class _Verdict(BaseModel):
    score: float = Field(ge=0, le=1)
    advice: str


@dataclass(frozen=True)
class ModelCritic:
    """Asks a language model whether a goal was reached."""

    goal: str
    threshold: float = 0.7
    rounds: int = 2
    model: LanguageModel | None = None
    """None: the agent's own."""
    most_messages: int = 40
    """Of the end of the history that the critic reads."""

    async def score(self, history: Sequence[Message], final: str, model: LanguageModel) -> Score:
        """Ask for a score and advice."""
        from models.llm import generate_object

        told = "\n\n".join(
            f"[{m.role}] {m.text[:1_500]}"
            + "".join(f"\n{call.name}({call.arguments[:300]})" for call in m.tool_calls)
            for m in history[-self.most_messages :]
        )
        request = Request(
            (
                user(
                    f"Goal: {self.goal}\n\nAn agent worked on it:\n\n{told}\n\nIt says in the end: "
                    f"{final}\n\nWas the goal reached? Score from 0 to 1, with advice on what is "
                    "missing."
                ),
            ),
            purpose="critic",
        )
        found = await generate_object(self.model or model, request, _Verdict)
        usage, cost = Usage(), 0.0
        for reply in found.replies:
            usage, cost = usage + reply.usage, cost + (reply.cost_usd or 0.0)
        return Score(found.value.score, found.value.advice, usage, cost)

"""Whether an agent that wants to end may: result, hooks, critic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from models.agents.events.types import Body, Failure, Note, Notice, Spent, Status
from models.agents.hooks import run_hooks
from models.llm import LanguageModel, LanguageModelError, Message
from models.llm.errors import BudgetExceededError, MalformedReplyError

if TYPE_CHECKING:
    from models.agents.agent import Agent


@dataclass
class Ending:
    """Decides about the end of a run.

    Args:
        agent: Whose run it is.
        model: For critics that have none of their own.
    """

    agent: Agent
    model: LanguageModel
    rounds: int = 0
    """How often the critic sent the agent back in this run."""

    async def decide(
        self, final: str, value: Any, history: Sequence[Message]
    ) -> tuple[list[Body], bool]:
        """Return what goes into the log, and whether the run is over.

        Args:
            final: The last message.
            value: Of an agent with `structured`: what finish was given; None: a text only.
            history: What the model saw and did.
        """
        bodies: list[Body] = []
        if self.agent.structured is not None and value is None:
            value, problem = _read(self.agent.structured, final)
            if problem:
                return [Notice(problem, "structured")], False
        elif not final.strip() and value is None:
            return [Notice("You said nothing. Go on, or call finish.", "empty")], False
        for verdict in await run_hooks(self.agent.hooks, "Stop", {"final": final}):
            if verdict.blocks:
                return [Notice(verdict.message, "hook")], False
            bodies.append(Note("hook", {"point": "Stop", "message": verdict.message}))
        advice = await self._criticise(final, history, bodies)
        if advice:
            return [*bodies, Notice(advice, "critic")], False
        return [*bodies, Status("finished", "", final, value)], True

    async def _criticise(self, final: str, history: Sequence[Message], bodies: list[Body]) -> str:
        critic = self.agent.critic
        if critic is None:
            return ""
        try:
            score = await critic.score(history, final, self.model)
        except BudgetExceededError:
            raise
        except LanguageModelError as error:
            # Without a critic the work counts as it is.
            bodies.append(Failure(type(error).__name__, str(error), "critic"))
            return ""
        bodies.append(Note("critic", {"score": score.value, "advice": score.advice}))
        bodies.append(Spent("critic", score.usage, score.cost_usd))
        if score.value >= critic.threshold or self.rounds >= critic.rounds:
            return ""
        self.rounds += 1
        return f"This is not good enough yet (score {score.value:.2f}). {score.advice}".strip()


def _read(kind: type[Any], text: str) -> tuple[Any, str]:
    """Return the value that a text holds as JSON, or what to tell the model."""
    from models.llm.tolerant import find_json

    adapter = TypeAdapter(kind)
    try:
        return adapter.dump_python(adapter.validate_python(find_json(text)), mode="json"), ""
    except (MalformedReplyError, ValidationError):
        return None, "Call finish with the result that was asked for; a text alone is none."

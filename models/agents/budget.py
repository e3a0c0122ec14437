"""What a conversation may take, as part of an agent's spec."""

from __future__ import annotations

from dataclasses import dataclass

from models.agents.state import State
from models.llm import Budget as LiveBudget
from models.llm.budget import Reservation, Spent
from models.llm.errors import BudgetExceededError


@dataclass(frozen=True)
class Budget:
    """Hard limits of a conversation with all that it delegates; None: not limited.

    Each is checked before a model is called: the call that would pass it is not made.
    """

    usd: float | None = None
    """US dollars; needs a model with a known price."""
    tokens: int | None = None
    """Of prompts and replies."""
    steps: int | None = None
    """Calls of the agent's model."""
    seconds: float | None = None
    """Wall time, counted from each opening of the conversation."""


class Purse:
    """The live side of a budget: what is left, shared with delegated conversations."""

    def __init__(self, limits: Budget, parent: Purse | None = None) -> None:
        self._charged: set[str] = parent._charged if parent else set()
        if parent is None:
            self.calls = LiveBudget(
                usd=limits.usd, tokens=limits.tokens, seconds=limits.seconds, name="budget"
            )
            self._steps = LiveBudget(calls=limits.steps, name="budget")
        else:
            name = "budget of a child"
            self.calls = parent.calls.child(
                usd=limits.usd, tokens=limits.tokens, seconds=limits.seconds, name=name
            )
            self._steps = parent._steps.child(calls=limits.steps, name=name)

    def charge(self, conversation_id: str, state: State) -> None:
        """Count what a log says was spent before this process opened it; a second time nothing.

        What a child took that its parent's log holds too is counted twice after a restart: a
        budget errs on the side of stopping early.
        """
        if conversation_id in self._charged:
            return
        self._charged.add(conversation_id)
        tokens = state.prompt_tokens + state.completion_tokens
        Reservation(self.calls, Spent()).settle(Spent(tokens, state.cost_usd))
        Reservation(self._steps, Spent()).settle(Spent(calls=state.steps))

    def take_step(self) -> None:
        """Count a step.

        Raises:
            BudgetExceededError: None is left.
        """
        try:
            self._steps.reserve(Spent(calls=1)).settle(Spent(calls=1))
        except BudgetExceededError:
            raise BudgetExceededError(
                f"{self._steps.name}: all steps are used up; raise `Budget.steps`", limit="steps"
            ) from None

    def remaining(self) -> dict[str, float | None]:
        """Return what is left of each limit."""
        return {
            "usd": self.calls.remaining("usd"),
            "tokens": self.calls.remaining("tokens"),
            "seconds": self.calls.remaining("seconds"),
            "steps": self._steps.remaining("calls"),
        }

"""What a conversation says of its log: the same here and on a server."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models.agents.events import Event
from models.agents.runs import Outcome
from models.agents.state import OpenCall, State
from models.agents.store.base import Log

if TYPE_CHECKING:
    from models.agents.blocking import BlockingConversation


class Standing:
    """What is read from a log."""

    store: Log
    """The log, or a copy that follows it; `commit` makes events durable."""

    @property
    def state(self) -> State:
        """What the log adds up to: phase, steps, cost, open calls, plan."""
        return self.store.state

    @property
    def cost(self) -> float:
        """US dollars, delegated conversations included."""
        return self.state.cost_usd

    @property
    def outcome(self) -> Outcome:
        """Where it stands."""
        state = self.state
        is_finished = state.phase == "finished"
        return Outcome(
            self.store.id,
            state.phase,
            state.final if is_finished else "",
            self._typed(state.value) if is_finished else None,
            state.reason,
            state.steps,
            state.cost_usd,
        )

    def _typed(self, value: Any) -> Any:
        """Return what a structured agent ended with; on a server plain JSON values."""
        return value

    def events(
        self, after: int = 0, limit: int | None = None, kinds: Iterable[str] = ()
    ) -> list[Event]:
        """Return events of all branches in order, from the one after `after` on."""
        return self.store.events(after, limit, kinds)

    def open_calls(self) -> list[OpenCall]:
        """Return the calls that have no result, in call order."""
        return self.state.open_calls()

    @cached_property
    def blocking(self) -> BlockingConversation:
        """The same conversation for callers without an event loop."""
        from models.agents.blocking import BlockingConversation

        return BlockingConversation(self)  # type: ignore[arg-type]

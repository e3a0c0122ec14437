"""The synchronous face of a conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from models.agents.deltas import Delta
from models.agents.events.types import Event
from models.agents.runs import Outcome, Run
from models.agents.security.policy import Policy
from models.llm import Message
from models.llm.blocking import run as wait_for

if TYPE_CHECKING:
    from models.agents.conversation import Conversation
    from models.agents.remote import RemoteConversation

_END = object()


class BlockingConversation:
    """A conversation's methods for code that does not await; properties are on the original."""

    def __init__(self, conversation: Conversation | RemoteConversation) -> None:
        self._it = conversation

    def post(self, text: str | Message) -> Event:
        """Append a user's message without running."""
        return wait_for(self._it.post(text))

    def send(self, text: str | Message) -> Outcome:
        """Say something, run, and wait for the end."""
        return wait_for(_outcome(self._it.send(text)))

    def run(self) -> Outcome:
        """Go on from where the log stands, and wait for the end."""
        return wait_for(_outcome(self._it.run()))

    def stream(self, text: str | Message, *, deltas: bool = False) -> Iterator[Event | Delta]:
        """Say something and give events as they happen."""
        source = aiter(self._it.send(text, deltas=deltas))

        async def following() -> Any:
            return await anext(source, _END)

        while (item := wait_for(following())) is not _END:
            yield item

    def pause(self) -> None:
        """Stop before the next model call."""
        self._it.pause()

    def interrupt(self) -> None:
        """Stop now."""
        self._it.interrupt()

    def approve(self, call_id: str | None = None, *, digest: str = "", by: str = "") -> None:
        """Allow waiting calls to run."""
        wait_for(self._it.approve(call_id, digest=digest, by=by))

    def reject(self, call_id: str | None = None, why: str = "") -> None:
        """Refuse waiting calls."""
        wait_for(self._it.reject(call_id, why))

    def rewind(self, seq: int) -> Event:
        """Go back to an event."""
        return wait_for(self._it.rewind(seq))

    def fork(
        self, at: int | None = None, id: str | None = None
    ) -> Conversation | RemoteConversation:
        """Open a copy that shares the events up to one."""
        return wait_for(self._fork(at, id))

    async def _fork(self, at: int | None, id: str | None) -> Conversation | RemoteConversation:
        return await self._it.fork(at, id)

    def ask(self, question: str) -> str:
        """Ask the model something on the side."""
        return wait_for(self._it.ask(question))

    def condense(self) -> bool:
        """Condense now."""
        return wait_for(self._it.condense())

    def set_title(self, title: str | None = None) -> str:
        """Name the conversation."""
        return wait_for(self._it.set_title(title))

    def set_policy(self, policy: Policy) -> None:
        """Change which calls wait."""
        wait_for(self._it.set_policy(policy))

    def update_secrets(self, values: Mapping[str, str | Callable[[], str]]) -> None:
        """Add secrets or replace their values."""
        wait_for(self._it.update_secrets(values))

    def close(self) -> None:
        """Close live objects and the log."""
        wait_for(self._it.aclose())


async def _outcome(run: Run) -> Outcome:
    return await run

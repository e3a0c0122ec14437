"""A run as its caller sees it: something to await, or to read events from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from models.agents.deltas import Delta
from models.agents.errors import LifecycleError
from models.agents.events.types import Event, Phase

if TYPE_CHECKING:
    from models.agents.store.base import Log


class Runnable(Protocol):
    """A conversation, here or on a server."""

    @property
    def store(self) -> Log:
        """Its log, or a copy that follows it."""

    @property
    def outcome(self) -> Outcome:
        """Where it stands."""

    def hear_deltas(self, listener: Callable[[Delta], None]) -> Callable[[], None]:
        """Call a function with pieces of answers; returns what ends that."""


@dataclass(frozen=True)
class Outcome:
    """Where a run ended."""

    conversation: str
    phase: Phase
    text: str
    """The last message of a finished run; empty otherwise."""
    value: Any
    """Of an agent with `structured`: the typed value."""
    reason: str
    """Why it did not finish."""
    steps: int
    cost_usd: float

    @property
    def ok(self) -> bool:
        """Whether the agent finished."""
        return self.phase == "finished"

    def check(self) -> Outcome:
        """Return this outcome if the run finished.

        Raises:
            LifecycleError: It did not.
        """
        if not self.ok:
            raise LifecycleError(
                f"conversation '{self.conversation}' is {self.phase}: {self.reason or 'no reason'}"
            )
        return self


class Run:
    """A run of a conversation: `await run` gives its outcome, `async for` its events.

    It starts when it is first awaited or iterated, and goes on if the iteration is left.

    Args:
        conversation: Whose run it is.
        work: What it does.
        deltas: Also give pieces of answers and progress of tools, as `Delta`.
    """

    def __init__(
        self, conversation: Runnable, work: Callable[[], Awaitable[None]], deltas: bool = False
    ) -> None:
        self._conversation = conversation
        self._work = work
        self._deltas = deltas
        self._task: asyncio.Task[Outcome] | None = None

    def __await__(self) -> Generator[Any, None, Outcome]:
        return self._whole().__await__()

    async def _whole(self) -> Outcome:
        if self._task is not None:
            return await self._task
        return await self._do()

    async def _do(self) -> Outcome:
        await self._work()
        return self._conversation.outcome

    async def __aiter__(self) -> AsyncIterator[Event | Delta]:
        queue: asyncio.Queue[Event | Delta | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def put(items: Sequence[Event | Delta | None]) -> None:
            for item in items:
                queue.put_nowait(item)

        def hear(items: Sequence[Event | Delta]) -> None:
            # Strict commits happen in another thread.
            loop.call_soon_threadsafe(put, items)

        ends = [self._conversation.store.listen(hear)]
        if self._deltas:
            ends.append(self._conversation.hear_deltas(lambda delta: hear([delta])))
        task = self._task = self._task or asyncio.create_task(self._do())
        task.add_done_callback(lambda _: loop.call_soon(put, [None]))
        try:
            while (item := await queue.get()) is not None:
                yield item
            await task
        finally:
            for end in ends:
                end()

"""Committing from an event loop: no disk holds it up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

from models.agents.events import Body, Event, UserMessage, new_event
from models.agents.events.types import Source
from models.agents.store.base import Log

T = TypeVar("T")

_MANY = 64
"""Events of one transaction that the event loop is not held up by: some 10 ms."""


class Journal:
    """A log as a coroutine writes to it.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        self._log = log

    async def commit(self, *bodies: Body, source: Source = "environment") -> list[Event]:
        """Append what happened now in one transaction; see `Log.commit`."""
        return await self.append([new_event(body, source) for body in bodies])

    async def append(self, events: Sequence[Event]) -> list[Event]:
        """Append events in one transaction; see `Log.commit`."""
        if self._log.durability == "strict" or len(events) > _MANY:
            return await _beside(lambda: self._log.commit(events))
        return self._log.commit(events)

    async def flush(self) -> None:
        """Wait until what was appended is as durable as was promised."""
        if (future := self._log.flushing()) is not None:
            await asyncio.wrap_future(future)

    def has_news(self, seen: int) -> bool:
        """Whether somebody spoke after an event."""
        self._log.refresh()
        if self._log.state.seq == seen:
            return False
        return bool(self._log.events(after=seen, kinds=[UserMessage.kind]))


async def _beside(work: Callable[[], T]) -> T:
    future = asyncio.get_running_loop().run_in_executor(_pool(os.getpid()), work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        # The transaction goes on; nothing may look at the log before it is over.
        await asyncio.wait([future])
        raise


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """Return the threads that wait for disks, apart from those of tools; new after a fork."""
    return ThreadPoolExecutor(8, f"agents-log-{process}")

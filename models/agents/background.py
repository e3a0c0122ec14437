"""The event loop of what outlives a single run: servers of tools, a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from models.llm.loop_thread import LoopThread

T = TypeVar("T")

_thread = LoopThread("agent-background")


async def there(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on that thread and wait for it; cancelling the wait cancels the work."""
    return await asyncio.wrap_future(_thread.submit(work))

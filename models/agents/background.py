"""A thread with an event loop for what outlives that of a single run: servers, a browser."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_owner = 0


def _running() -> asyncio.AbstractEventLoop:
    global _loop, _owner
    with _lock:
        # After a fork the thread is gone, and its loop is of no use to the child.
        if _loop is None or _owner != os.getpid():
            _loop, _owner = asyncio.new_event_loop(), os.getpid()
            threading.Thread(target=_loop.run_forever, name="agent-background", daemon=True).start()
        return _loop


async def there(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on that thread and wait for it; cancelling the wait cancels the work."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, _running()))

"""Sync tools beside the event loop, in threads that hold up nobody's end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any


async def in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call a function in a daemon thread of its own and wait for it.

    A pool would run full of tools that do not end, and Python waits for its threads at exit.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = contextvars.copy_context()

    def done(value: Any, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)

    def work() -> None:
        value: Any = None
        failure: BaseException | None = None
        try:
            value = context.run(function, **arguments)
        except StopIteration as error:
            failure = RuntimeError(f"StopIteration: {error}")  # no future may hold one
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done, value, failure)

    threading.Thread(target=work, name="agent-tool", daemon=True).start()
    return await future

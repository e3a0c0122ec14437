"""Threads for what would hold up the event loop: disks, and folders of files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Workers:
    """A pool of the server's own: long commands of people run elsewhere and cannot fill it.

    Args:
        count: Threads at most.
    """

    def __init__(self, count: int = 8) -> None:
        self._pool = ThreadPoolExecutor(count, "agents-server")

    async def do(self, work: Callable[..., T], *arguments: object) -> T:
        """Call a function in a thread and wait for it."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *arguments)

    def close(self) -> None:
        """Let threads end when their work is done."""
        self._pool.shutdown(wait=False)

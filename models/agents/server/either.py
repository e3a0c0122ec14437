"""Both directions of a connection: the first that ends ends the other."""

from __future__ import annotations

import asyncio
from typing import Any


async def either(*works: Any) -> None:
    """Work at several things until the first ends; raise what ended it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

"""Calls that are asked twice under one id are made once."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from weakref import WeakValueDictionary

from models.llm.errors import BadRequestError
from models.llm.reply import Reply
from models.llm.request import Request


class OncePerId:
    """Remembers the last replies by request id; lives on one event loop."""

    def __init__(self, size: int = 1_024) -> None:
        self._size = size
        self._done: OrderedDict[str, tuple[str, Reply]] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def reply(self, request: Request, call: Callable[[], Awaitable[Reply]]) -> Reply:
        """Return the reply of this id, calling only if there is none yet.

        A call under way is waited for; one that failed is made again. A reply that was there
        has `attempts=0`: it was paid for already.

        Raises:
            BadRequestError: The id was used for another request.
        """
        if not request.id:
            return await call()
        lock = self._locks.setdefault(request.id, asyncio.Lock())
        async with lock:
            known = self._done.get(request.id)
            if known is None:
                reply = await call()
                self._done[request.id] = (request.digest, reply)
                if len(self._done) > self._size:
                    self._done.popitem(last=False)
                return reply
        digest, reply = known
        if digest != request.digest:
            raise BadRequestError(
                f"request id '{request.id}' was used for another request; give each its own id"
            )
        return replace(reply, attempts=0)

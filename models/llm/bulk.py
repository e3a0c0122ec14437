"""Calls that are made at the same time, asked as one batch: engines plan it and share prefixes."""

from __future__ import annotations

import asyncio

from models.llm.base import LanguageModel, Model
from models.llm.errors import LanguageModelError, UnexpectedError
from models.llm.reply import Reply
from models.llm.request import Request

_LINGER_S = 0.01


class BulkModel(Model):
    """Gathers `generate` calls of one event loop into batches of the model behind it.

    A repair that an answer needs is a later call, so it goes with the repairs of others.

    Args:
        model: Its `batch` is asked; one that plans batches computes shared beginnings once.
        linger_s: Seconds that the first call of a batch waits for others.
    """

    def __init__(self, model: LanguageModel, linger_s: float = _LINGER_S) -> None:
        super().__init__(model.name, model.capabilities, model.price)
        self._model = model
        self._linger_s = linger_s
        self._waiting: list[tuple[Request, asyncio.Future[Reply]]] = []
        self._asking: set[asyncio.Task[None]] = set()

    async def _generate(self, request: Request) -> Reply:
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if len(self._waiting) == 1:
            task = asyncio.create_task(self._ask())
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        return await future

    async def _ask(self) -> None:
        await asyncio.sleep(self._linger_s)
        gathered, self._waiting = self._waiting, []
        # Whoever gave up meanwhile is not asked for.
        rows = [row for row in gathered if not row[1].done()]
        if not rows:
            return
        try:
            outcomes = await self._model.batch([request for request, _ in rows])
        except Exception as error:
            outcomes = [_as_outcome(self.name, error)] * len(rows)
        for (_, future), outcome in zip(rows, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Reply):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)


def _as_outcome(name: str, error: Exception) -> LanguageModelError:
    if isinstance(error, LanguageModelError):
        return error
    return UnexpectedError(f"{name} failed with {type(error).__name__}: {error}")

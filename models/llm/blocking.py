"""The synchronous face: coroutines run on one loop in a thread of its own."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from models.llm.loop_thread import LoopThread
from models.llm.reply import Chunk, Reply
from models.llm.request import Options, Prompt

if TYPE_CHECKING:
    from models.llm.base import LanguageModel, Outcome

T = TypeVar("T")

_WRONG_THREAD = "this thread runs an event loop: await the model instead of blocking"

_thread = LoopThread("llm-blocking")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end from a thread without an event loop.

    Raises:
        RuntimeError: A loop runs in this thread: waiting here would stop it.
    """
    if _is_in_loop():
        work.close()
        raise RuntimeError(_WRONG_THREAD)
    future = _thread.submit(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Blocking:
    """A model's methods for code that does not await."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model

    def generate(self, prompt: Prompt, options: Options | None = None) -> Reply:
        """Answer one request; see `LanguageModel.generate`."""
        return run(self._model.generate(prompt, options))

    def batch(
        self, prompts: Sequence[Prompt], options: Options | None = None, *, concurrency: int = 8
    ) -> list[Outcome]:
        """Answer many; see `LanguageModel.batch`."""
        return run(self._model.batch(prompts, options, concurrency=concurrency))

    def stream(self, prompt: Prompt, options: Options | None = None) -> Iterator[Chunk]:
        """Answer piece by piece; leaving the loop early ends the call."""
        if _is_in_loop():
            raise RuntimeError(_WRONG_THREAD)
        pieces: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()

        # One task reads the whole stream: time limits and locks belong to the task they
        # were entered in.
        async def pump() -> None:
            try:
                async with aclosing(self._model.stream(prompt, options)) as chunks:
                    async for chunk in chunks:
                        pieces.put(chunk)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        future = _thread.submit(pump())
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            future.cancel()

    def close(self) -> None:
        """Let go of connections and files."""
        run(self._model.aclose())

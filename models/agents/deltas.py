"""What is shown while it happens and then forgotten: pieces of answers, progress of tools."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from models.agents.security.secrets import Secrets
from models.llm import LanguageModel, Reply, Request


@dataclass(frozen=True)
class Delta:
    """A piece of what is going on now; the event that follows counts."""

    text: str = ""
    reasoning: str = ""
    call_id: str = ""
    """Of the tool whose progress `text` is; empty: the model speaks."""


class Deltas:
    """Shows pieces to listeners, without secrets.

    Args:
        secrets: Of the conversation.
    """

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._listeners: list[Callable[[Delta], None]] = []

    def listen(self, listener: Callable[[Delta], None]) -> Callable[[], None]:
        """Call a function with each piece; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def progress(self, call_id: str) -> Callable[[str], None]:
        """Return what a tool shows its progress with."""
        mask = self._secrets.stream()
        return lambda text: self._show(Delta(mask.feed(text), call_id=call_id))

    async def generate(self, model: LanguageModel, request: Request) -> Reply:
        """Call a model; streamed where somebody listens."""
        if not self._listeners:
            return await model.generate(request)
        texts, thoughts = self._secrets.stream(), self._secrets.stream()
        reply = None
        async with aclosing(model.stream(request)) as chunks:
            async for chunk in chunks:
                reply = chunk.reply or reply
                self._show(Delta(texts.feed(chunk.text), thoughts.feed(chunk.reasoning)))
        self._show(Delta(texts.end(), thoughts.end()))
        assert reply is not None  # the meter raises StreamCutError before this
        return reply

    def _show(self, delta: Delta) -> None:
        if delta.text or delta.reasoning:
            for listener in tuple(self._listeners):
                listener(delta)

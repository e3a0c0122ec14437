"""The protocol of a language model, and the base class that turns one hook into all of it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias, runtime_checkable

from models.llm.blocking import Blocking
from models.llm.errors import BadRequestError, LanguageModelError, UnexpectedError
from models.llm.prices import Price
from models.llm.reply import Reply, Source, Stream, chunks_of
from models.llm.request import Options, Prompt, Request, as_request, estimate_prompt


@dataclass(frozen=True)
class Capabilities:
    """What a model can do by itself; wrappers make up for what it cannot."""

    tools: bool = True
    schema: bool = True
    images: bool = False
    cache: bool = False
    logprobs: bool = False
    context_tokens: int | None = None
    source: Source = "live"


Outcome: TypeAlias = Reply | LanguageModelError
"""A row of a batch: its reply, or why there is none."""


@runtime_checkable
class LanguageModel(Protocol):
    """Anything that answers requests: a hosted model, our engine, a script, a recording."""

    @property
    def name(self) -> str:
        """Name for people, meters and records; never holds a key."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do by itself."""

    @property
    def price(self) -> Price | None:
        """USD per million tokens; None: not known."""

    async def generate(self, prompt: Prompt, options: Options | None = None) -> Reply:
        """Answer one request.

        Raises:
            LanguageModelError: One of the types of `models.llm.errors`.
        """

    def stream(self, prompt: Prompt, options: Options | None = None) -> Stream:
        """Answer piece by piece; the last chunk carries the whole reply."""

    async def batch(
        self, prompts: Sequence[Prompt], options: Options | None = None, *, concurrency: int = 8
    ) -> list[Outcome]:
        """Answer many: one outcome per prompt, in their order; a failed row stops no other."""

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Count or estimate the tokens of the prompt, tools and schema included."""

    async def aclose(self) -> None:
        """Let go of connections and files."""


class Model(ABC):
    """A language model by its hooks: `_generate`, and `_stream` where it can stream."""

    def __init__(
        self,
        name: str,
        capabilities: Capabilities = Capabilities(),
        price: Price | None = None,
    ) -> None:
        self._name = name
        self._capabilities = capabilities
        self._price = price

    @property
    def name(self) -> str:
        """Name for people, meters and records; never holds a key."""
        return self._name

    @property
    def capabilities(self) -> Capabilities:
        """What it can do by itself."""
        return self._capabilities

    @property
    def price(self) -> Price | None:
        """USD per million tokens; None: not known."""
        return self._price

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r})"

    async def generate(self, prompt: Prompt, options: Options | None = None) -> Reply:
        """Answer one request; raises `LanguageModelError`."""
        return await self._generate(as_request(prompt, options))

    def stream(self, prompt: Prompt, options: Options | None = None) -> Stream:
        """Answer piece by piece; the last chunk carries the whole reply."""
        return self._stream(as_request(prompt, options))

    async def batch(
        self, prompts: Sequence[Prompt], options: Options | None = None, *, concurrency: int = 8
    ) -> list[Outcome]:
        """Answer many: one outcome per prompt, in their order; a failed row stops no other.

        Args:
            prompts: Texts, messages or requests.
            options: How to answer those that bring no options of their own.
            concurrency: Most calls at a time.
        """
        if concurrency < 1:
            raise BadRequestError(f"concurrency must be at least 1, got {concurrency}")
        rows: list[Outcome | None] = [None] * len(prompts)
        waiting = iter(enumerate(prompts))

        async def work() -> None:
            for index, prompt in waiting:
                rows[index] = await self._row(prompt, options)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(prompts))):
                group.create_task(work())
        return [UnexpectedError("this row was never asked") if r is None else r for r in rows]

    async def _row(self, prompt: Prompt, options: Options | None) -> Outcome:
        try:
            own = isinstance(prompt, Request)
            return await self.generate(prompt, None if own else options)
        except LanguageModelError as error:
            return error
        except Exception as error:
            # A row must not take the others with it, whatever its model does.
            failure = UnexpectedError(f"{self.name} failed with {type(error).__name__}: {error}")
            failure.__cause__ = error
            return failure

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Estimate the tokens of the prompt, tools and schema included."""
        return estimate_prompt(as_request(prompt, options))

    async def aclose(self) -> None:  # noqa: B027 - most models hold nothing
        """Let go of connections and files."""

    @cached_property
    def blocking(self) -> Blocking:
        """The same model for callers without an event loop."""
        return Blocking(self)

    @abstractmethod
    async def _generate(self, request: Request) -> Reply: ...

    async def _stream(self, request: Request) -> Stream:
        for chunk in chunks_of(await self._generate(request)):
            yield chunk

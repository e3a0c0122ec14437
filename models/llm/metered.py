"""A model under a meter and a hard budget."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from models.llm.base import LanguageModel, Model, Outcome
from models.llm.budget import Budget, Reservation, Spent
from models.llm.errors import (
    BadRequestError,
    BudgetExceededError,
    LanguageModelError,
    StreamCutError,
)
from models.llm.meter import Meter, is_before_answer
from models.llm.reply import Chunk, Reply, Stream, Usage
from models.llm.request import Options, Prompt, Request, as_request
from models.llm.tokens import estimate_tokens

_MOST_CHARS = 8
"""Of a token on usual text. A piece of a stream has at least one token, and one per so many
characters: above this count a stream has surely passed its limit, and none within it is cut."""


@dataclass
class _Call:
    """A call under way, settled and counted once."""

    request: Request
    prompt_tokens: int = 0
    held: Reservation | None = None
    surely_streamed: float = 0.0
    """Tokens that have come at least."""
    pieces: list[str] = field(default_factory=list)
    is_over: bool = False


class MeteredModel(Model):
    """Counts every call of a model, and refuses those that a budget does not cover.

    Args:
        inner: The model.
        meter: Where calls are counted; None: nowhere.
        budget: What they may take; None: anything.
        reply_tokens: Under a budget of tokens or money, the `max_tokens` of requests that
            name none: without a bound no call could be refused before it is made.
    """

    def __init__(
        self,
        inner: LanguageModel,
        *,
        meter: Meter | None = None,
        budget: Budget | None = None,
        reply_tokens: int = 4_096,
    ) -> None:
        super().__init__(inner.name, inner.capabilities, inner.price)
        self._inner = inner
        self._meter = meter
        self._budget = budget
        self._reply_tokens = reply_tokens

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Count as the inner model does."""
        return self._inner.count_tokens(prompt, options)

    async def aclose(self) -> None:
        """Close the inner model."""
        await self._inner.aclose()

    async def batch(
        self, prompts: Sequence[Prompt], options: Options | None = None, *, concurrency: int = 8
    ) -> list[Outcome]:
        """Answer many; the inner model plans them together where the budget covers them all.

        Under a limit of time, or when the budget may not last, rows are asked one by one:
        those that were answered until then are kept.
        """
        requests = [
            prompt if isinstance(prompt, Request) else as_request(prompt, options)
            for prompt in prompts
        ]
        calls = self._begin_all(requests)
        if calls is None:
            return await super().batch(requests, concurrency=concurrency)
        try:
            asked = [call.request for call in calls]
            outcomes = await self._inner.batch(asked, concurrency=concurrency)
        except BaseException as error:
            for call in calls:
                self._failed(call, error)
            raise
        for call, outcome in zip(calls, outcomes, strict=True):
            if isinstance(outcome, Reply):
                self._succeeded(call, outcome)
            else:
                self._failed(call, outcome)
        return outcomes

    def _begin_all(self, requests: Sequence[Request]) -> list[_Call] | None:
        """Reserve for all rows at once; None where they do not fit together."""
        budget = self._budget
        if budget is None:
            return [_Call(request) for request in requests]
        if budget.remaining("seconds") is not None or (budget.needs_price() and not self.price):
            return None
        calls = [self._bounded(request) for request in requests]
        held: list[Reservation] = []
        try:
            for call in calls:
                call.held = budget.reserve(self._estimate(call))
                held.append(call.held)
        except BudgetExceededError:
            for reservation in held:
                reservation.settle(Spent())
            return None
        return calls

    async def _generate(self, request: Request) -> Reply:
        request, call = self._begin(request)
        try:
            async with asyncio.timeout(self._left_s()) as limit:
                reply = await self._inner.generate(request)
        except TimeoutError:
            late = self._too_late() if limit.expired() else None
            self._failed(call, late or TimeoutError())
            if late is None:
                raise
            raise late from None
        except BaseException as error:
            self._failed(call, error)
            raise
        self._succeeded(call, reply)
        return reply

    async def _stream(self, request: Request) -> Stream:
        request, call = self._begin(request)
        said = ""
        try:
            async with aclosing(self._inner.stream(request)) as chunks:
                while (chunk := await self._next(chunks)) is not None:
                    if chunk.reply is not None:
                        self._succeeded(call, chunk.reply)
                    said += chunk.text
                    piece = chunk.text + chunk.reasoning + chunk.arguments
                    if piece:
                        call.pieces.append(piece)
                        call.surely_streamed += max(1.0, len(piece) / _MOST_CHARS)
                        self._check_running(call)
                    yield chunk
        except BaseException as error:
            if isinstance(error, LanguageModelError):
                error.text = error.text or said
            self._failed(call, error)
            raise
        if not call.is_over:
            cut = StreamCutError(f"{self.name} ended a stream without a reply", text=said)
            self._failed(call, cut)
            raise cut

    async def _next(self, chunks: Stream) -> Chunk | None:
        try:
            async with asyncio.timeout(self._left_s()) as limit:
                return await anext(chunks, None)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._too_late() from None

    def _begin(self, request: Request) -> tuple[Request, _Call]:
        budget = self._budget
        if budget is None:
            return request, _Call(request)
        if budget.needs_price() and self.price is None:
            raise BadRequestError(
                f"{budget.name} limits money, and no price of {self.name} is known; give the "
                "model a price, or limit tokens"
            )
        call = self._bounded(request)
        try:
            call.held = budget.reserve(self._estimate(call))
        except BudgetExceededError as error:
            self._failed(call, error)
            raise
        return call.request, call

    def _bounded(self, request: Request) -> _Call:
        needs_bound = self._budget is not None and self._budget.needs_bound()
        if needs_bound and request.options.max_tokens is None:
            options = replace(request.options, max_tokens=self._reply_tokens)
            request = replace(request, options=options)
        return _Call(request, prompt_tokens=self._inner.count_tokens(request))

    def _estimate(self, call: _Call) -> Spent:
        return self._spent(call, call.request.options.max_tokens or 0)

    def _spent(self, call: _Call, reply_tokens: float) -> Spent:
        usage = Usage(call.prompt_tokens, 0, round(reply_tokens), 0)
        usd = 0.0 if self.price is None else self.price.cost_usd(usage)
        return Spent(usage.total_tokens, usd, 1)

    def _left_s(self) -> float | None:
        left_s = self._budget.remaining("seconds") if self._budget else None
        return None if left_s is None else max(0.0, left_s)

    def _too_late(self) -> BudgetExceededError:
        name = self._budget.name if self._budget else "budget"
        return BudgetExceededError(
            f"{name}: the time ended while {self.name} was answering; allow more time",
            limit="seconds",
            is_running=True,
        )

    def _check_running(self, call: _Call) -> None:
        """Stop a stream whose reply is longer than anything that the budget has left."""
        if self._budget is None or call.held is None or call.is_over:
            return
        now = self._spent(call, call.surely_streamed)
        for key in ("tokens", "usd"):
            left = self._budget.remaining(key)
            own: float = getattr(call.held.estimate, key)
            if left is not None and getattr(now, key) > own + max(0.0, left):
                raise BudgetExceededError(
                    f"{self._budget.name}: the reply of {self.name} passed its limit of {key} "
                    "while it was streamed; raise the budget or lower max_tokens",
                    limit=key,
                    is_running=True,
                )

    def _succeeded(self, call: _Call, reply: Reply) -> None:
        if reply.attempts == 0:
            self._end(call, Spent(calls=1), reply)
            return
        cost = reply.cost_usd
        if cost is None and self.price is not None:
            cost = self.price.cost_usd(reply.usage)
        self._end(call, Spent(reply.usage.total_tokens, cost or 0.0, 1), reply)

    def _failed(self, call: _Call, error: BaseException) -> None:
        """Charge a failed call: nothing, what was streamed, or all that it may have taken."""
        spent = Spent() if call.held is None else call.held.estimate
        if call.pieces:
            spent = self._spent(call, estimate_tokens("".join(call.pieces)))
        elif isinstance(error, LanguageModelError) and is_before_answer(error):
            spent = Spent(calls=1)
        self._end(call, spent, error)

    def _end(self, call: _Call, spent: Spent, outcome: Reply | BaseException) -> None:
        if call.is_over:
            return
        call.is_over = True
        if call.held is not None:
            call.held.settle(spent)
        if self._meter is not None:
            source = outcome.source if isinstance(outcome, Reply) else self.capabilities.source
            self._meter.record(call.request, self.name, source, outcome)

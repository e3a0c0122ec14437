"""Several models as one: by purpose, by what a request needs, and by who answers today."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from models.llm.base import Capabilities, LanguageModel, Model
from models.llm.breaker import CircuitBreaker
from models.llm.errors import (
    AuthenticationError,
    BadRequestError,
    BudgetExceededError,
    CircuitOpenError,
    ContentFilterError,
    ContextLengthError,
    LanguageModelError,
    ModelNotFoundError,
    NoModelError,
    QuotaError,
    UnsupportedError,
)
from models.llm.prices import Price
from models.llm.reply import Reply, Stream
from models.llm.request import Options, Prompt, Request, as_request

FALLBACK: tuple[type[LanguageModelError], ...] = (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    ModelNotFoundError,
    QuotaError,
    UnsupportedError,
)
"""Errors that the next model may not have, beside all that are retryable."""

_BLAMELESS = (BadRequestError, ContentFilterError, BudgetExceededError)


class RouterModel(Model):
    """Asks the models of a route in their order until one answers.

    Args:
        routes: Models by purpose, best first; the route `""` serves all other purposes.
        fallback: Errors, beside retryable ones, that pass a request on to the next model.
        breaker: Makes the circuit breaker of each model.
        name: For meters and messages.
    """

    def __init__(
        self,
        routes: Mapping[str, Sequence[LanguageModel]],
        *,
        fallback: tuple[type[LanguageModelError], ...] = FALLBACK,
        breaker: Callable[[], CircuitBreaker] = CircuitBreaker,
        name: str = "router",
    ) -> None:
        self._routes = {purpose: tuple(models) for purpose, models in routes.items()}
        self._models = list(dict.fromkeys(m for route in self._routes.values() for m in route))
        if not self._models or not all(self._routes.values()):
            raise BadRequestError("a router needs routes with at least one model each")
        super().__init__(f"{name}({', '.join(model.name for model in self._models)})")
        self._fallback = fallback
        self._breakers = {id(model): breaker() for model in self._models}

    @property
    def capabilities(self) -> Capabilities:
        """What any of the models can do: requests go to those that can."""
        all_of = [model.capabilities for model in self._models]
        contexts = [one.context_tokens for one in all_of]
        known = [tokens for tokens in contexts if tokens is not None]
        sources = {one.source for one in all_of}
        return Capabilities(
            tools=any(one.tools for one in all_of),
            # Of a schema all must know: it is what callers leave out of the prompt.
            schema=all(one.schema for one in all_of),
            images=any(one.images for one in all_of),
            cache=any(one.cache for one in all_of),
            logprobs=any(one.logprobs for one in all_of),
            context_tokens=max(known) if len(known) == len(contexts) else None,
            source="live" if "live" in sources else min(sources),
        )

    @property
    def price(self) -> Price | None:
        """Of each kind of token, the highest price among the models: budgets stay hard."""
        prices = [model.price for model in self._models]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices):
            return None
        return Price(max(price.prompt for price in known), max(price.completion for price in known))

    def count_tokens(self, prompt: Prompt, options: Options | None = None) -> int:
        """Return the highest count among the models of the route."""
        request = as_request(prompt, options)
        return max(model.count_tokens(request) for model in self._route(request))

    async def aclose(self) -> None:
        """Close all models."""
        for model in self._models:
            await model.aclose()

    async def _generate(self, request: Request) -> Reply:
        failures: list[LanguageModelError] = []
        for model in self._route(request):
            breaker = self._enter(model, request, failures)
            if breaker is None:
                continue
            try:
                reply = await model.generate(request)
            except BaseException as error:
                self._judge(breaker, error, failures)
                continue
            breaker.succeeded()
            return replace(reply, attempts=reply.attempts + len(failures))
        raise self._nobody(request, failures)

    async def _stream(self, request: Request) -> Stream:
        failures: list[LanguageModelError] = []
        for model in self._route(request):
            breaker = self._enter(model, request, failures)
            if breaker is None:
                continue
            has_begun = False
            try:
                async with aclosing(model.stream(request)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        if chunk.reply is not None:
                            breaker.succeeded()
                        yield chunk
            except BaseException as error:
                self._judge(breaker, error, failures)
                # What was shown cannot be taken back.
                if has_begun:
                    raise
                continue
            return
        raise self._nobody(request, failures)

    def _route(self, request: Request) -> tuple[LanguageModel, ...]:
        route = self._routes.get(request.purpose) or self._routes.get("")
        if route is None:
            raise ModelNotFoundError(
                f"no route for purpose '{request.purpose}'; known: "
                f"{', '.join(sorted(self._routes))}; add it, or the route '' for all others"
            )
        return route

    def _enter(
        self, model: LanguageModel, request: Request, failures: list[LanguageModelError]
    ) -> CircuitBreaker | None:
        """Return the breaker of a model that may be asked; else note why not."""
        lacks = missing(model, request)
        if lacks:
            failures.append(UnsupportedError(f"{model.name} cannot: {', '.join(lacks)}"))
            return None
        breaker = self._breakers[id(model)]
        if breaker.try_enter():
            return breaker
        left_s = breaker.left_s()
        failures.append(
            CircuitOpenError(
                f"{model.name} failed too often and rests for {left_s:.0f} s",
                retry_after_s=left_s,
            )
        )
        return None

    def _judge(
        self, breaker: CircuitBreaker, error: BaseException, failures: list[LanguageModelError]
    ) -> None:
        """Note a failure, or let it travel when no other model could do better."""
        if not isinstance(error, LanguageModelError):
            breaker.left()
            raise error
        if isinstance(error, _BLAMELESS) and not isinstance(error, ModelNotFoundError):
            breaker.left()
        else:
            breaker.failed()
        if not error.retryable and not isinstance(error, self._fallback):
            raise error
        failures.append(error)

    def _nobody(self, request: Request, failures: list[LanguageModelError]) -> LanguageModelError:
        if len(failures) == 1:
            return failures[0]
        waits = [error.retry_after_s for error in failures if error.retry_after_s is not None]
        return NoModelError(
            f"none of {len(failures)} models answered for purpose '{request.purpose}': "
            + "; ".join(str(error) for error in failures),
            retry_after_s=min(waits) if waits else None,
            errors=tuple(failures),
        )


def missing(model: LanguageModel, request: Request) -> tuple[str, ...]:
    """Return what a request needs and a model lacks."""
    can, options = model.capabilities, request.options
    needs = {
        "tools": bool(options.tools) and not can.tools,
        "images": any(message.has_images for message in request.messages) and not can.images,
        "a JSON schema": options.schema is not None and not can.schema,
        "log-probabilities": options.logprobs is not None and not can.logprobs,
    }
    return tuple(name for name, is_missing in needs.items() if is_missing)

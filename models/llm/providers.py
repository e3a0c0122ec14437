"""Any provider that litellm knows, with its retries, prices and errors in our own terms."""

from __future__ import annotations

import asyncio
import importlib
import os
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from models.llm import errors
from models.llm.base import Capabilities, Model
from models.llm.delta import StreamReader
from models.llm.errors import LanguageModelError, ModelNotFoundError, UnexpectedError
from models.llm.guard import check_live
from models.llm.http_errors import error_of
from models.llm.messages import canonical_json
from models.llm.prices import Price, known, price_of
from models.llm.reply import Chunk, Reply, Stream
from models.llm.request import Request
from models.llm.retry import PATIENT, RetryPolicy, retry_after_s, tell_wait
from models.llm.secrets import ApiKey, redact
from models.llm.wire import Dialect, chat_message, chat_options, parse_reply

# litellm's classes by name: it is imported with the first call only (6 CPU seconds).
_ERRORS: dict[str, type[LanguageModelError]] = {
    "AuthenticationError": errors.AuthenticationError,
    "PermissionDeniedError": errors.AuthenticationError,
    "RateLimitError": errors.RateLimitError,
    "ContextWindowExceededError": errors.ContextLengthError,
    "ContentPolicyViolationError": errors.ContentFilterError,
    "Timeout": errors.ReplyTimeoutError,
    "APIConnectionError": errors.UnreachableError,
    "ServiceUnavailableError": errors.ServerError,
    "InternalServerError": errors.ServerError,
    "BadGatewayError": errors.ServerError,
    "NotFoundError": errors.ModelNotFoundError,
    "UnsupportedParamsError": errors.UnsupportedError,
    "BadRequestError": errors.BadRequestError,
    "UnprocessableEntityError": errors.BadRequestError,
    "JSONSchemaValidationError": errors.MalformedReplyError,
    "APIResponseValidationError": errors.MalformedReplyError,
    "BudgetExceededError": errors.QuotaError,
}


_ADDRESSES = ("api_base", "base_url")

_PROVIDERS = re.compile(r"^class LlmProviders\(.*?(?=^\S)", re.MULTILINE | re.DOTALL)
_PROVIDER = re.compile(r'^    [A-Z0-9_]+ = "([^"]+)"', re.MULTILINE)


@lru_cache(maxsize=1)
def _providers() -> frozenset[str]:
    """Return litellm's names of providers, read from its source; none where it has none."""
    spec = find_spec("litellm")
    source = Path(spec.origin).parent / "types" / "utils.py" if spec and spec.origin else None
    if source is None or not source.is_file():
        return frozenset()
    listed = _PROVIDERS.search(source.read_text(encoding="utf-8"))
    return frozenset(_PROVIDER.findall(listed.group()) if listed else ())


def check_provider(model: str) -> None:
    """Check that litellm knows the provider of a model, before anything is begun with it.

    Raises:
        ModelNotFoundError: It does not; names the one that may be meant.
    """
    provider = model.partition("/")[0]
    providers = _providers()
    if not providers or provider in providers:
        return
    near = get_close_matches(provider, providers, n=1)
    guess = f"did you mean '{near[0]}'? " if near else ""
    raise ModelNotFoundError(
        f"no provider named '{provider}' (of '{model}'); {guess}see docs/llm.md, or write "
        f"litellm:{model} if litellm was taught that name"
    )


def _litellm() -> Any:
    # Before the import: prices come from the package, never from the network.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    return litellm


class LiteLlmModel(Model):
    """A model by litellm's name, such as `anthropic/claude-sonnet-4-5`.

    Args:
        model: Provider and model.
        api_base: Address of the provider; None: litellm's own choice.
        api_key: None: litellm reads the provider's usual variable.
        retry: When to try again; litellm's own retries are off.
        timeout_s: For one try.
        price: USD per million tokens; None: litellm's offline price map.
        capabilities: None: what the offline map says.
        extra: Further arguments of `litellm.acompletion`.
    """

    def __init__(
        self,
        model: str,
        *,
        api_base: str | None = None,
        api_key: ApiKey | None = None,
        retry: RetryPolicy = PATIENT,
        timeout_s: float = 600.0,
        price: Price | None = None,
        capabilities: Capabilities | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(model, capabilities or _capabilities(model), price or price_of(model))
        self._api_base = api_base
        self._key = api_key
        self._retry = retry
        self._timeout_s = timeout_s
        self._extra = dict(extra or {})
        caches = self.capabilities.cache
        is_openai = model.startswith(("openai/", "gpt-", "o1", "o3", "o4"))
        self._dialect = Dialect(
            send_cache_marks=caches and not is_openai, send_cache_key=caches and is_openai
        )

    async def _generate(self, request: Request) -> Reply:
        start, attempt = time.monotonic(), 0
        while True:
            attempt += 1
            try:
                answer = await self._ask(request, stream=False)
                reply = parse_reply(_plain(answer), request, self.name)
                return self._finished(reply, start, attempt)
            except Exception as error:
                await self._wait(self._translate(error), attempt)

    async def _stream(self, request: Request) -> Stream:
        start, attempt, has_begun = time.monotonic(), 0, False
        while True:
            attempt += 1
            try:
                async with aclosing(self._chunks(request)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        if chunk.reply is not None:
                            whole = self._finished(chunk.reply, start, attempt)
                            chunk = replace(chunk, reply=whole)
                        yield chunk
                return
            except Exception as error:
                failure = self._translate(error)
                if has_begun:
                    raise failure from error
                await self._wait(failure, attempt)

    async def _chunks(self, request: Request) -> Stream:
        reader = StreamReader(request, self.name)
        events: AsyncIterator[Any] = await self._ask(request, stream=True)
        try:
            async for event in events:
                for chunk in reader.feed(canonical_json(_plain(event))):
                    yield chunk
        except Exception as error:
            failure = self._translate(error)
            failure.text = failure.text or reader.text
            raise failure from error
        yield Chunk(reply=reader.reply())

    async def _ask(self, request: Request, *, stream: bool) -> Any:
        given = [self._api_base, *(self._extra.get(key) for key in _ADDRESSES)]
        for address in [address for address in given if address] or [None]:
            check_live(address, self.name)
        arguments: dict[str, Any] = {
            "model": self.name,
            "messages": [chat_message(message, self._dialect) for message in request.messages],
            **chat_options(request.options, self._dialect),
            "num_retries": 0,
            "max_retries": 0,
            "timeout": self._timeout_s,
            **self._extra,
        }
        if stream:
            arguments |= {"stream": True, "stream_options": {"include_usage": True}}
        if self._dialect.send_cache_key and request.conversation:
            arguments["prompt_cache_key"] = request.conversation
        if self._api_base is not None:
            arguments["api_base"] = self._api_base
        if self._key:
            arguments["api_key"] = self._key.reveal()
        async with asyncio.timeout(self._timeout_s):
            return await _litellm().acompletion(**arguments)

    def _translate(self, error: Exception) -> LanguageModelError:
        if isinstance(error, LanguageModelError):
            return error
        if isinstance(error, TimeoutError):
            return errors.ReplyTimeoutError(
                f"{self.name} gave no reply in {self._timeout_s:g} s; raise timeout_s"
            )
        kinds = (_ERRORS.get(base.__name__) for base in type(error).__mro__)
        kind = next((kind for kind in kinds if kind is not None), None)
        said = redact(str(error), *([self._key] if self._key else []))[:1_000]
        status = getattr(error, "status_code", None)
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        status = status if isinstance(status, int) else None
        message = f"{self.name}: {said}"
        if kind is errors.ServerError and "connection error" in said.lower():
            kind = errors.UnreachableError  # litellm calls it an internal error of the server
        if kind is None:
            return UnexpectedError(message, status=status)
        # The words often say more than litellm's class: quota, context, filter.
        if status is not None and kind in (errors.BadRequestError, errors.RateLimitError):
            kind = type(error_of(status, headers, orjson.dumps({"message": said}), self.name))
        return kind(message, status=status, retry_after_s=retry_after_s(headers))

    def _finished(self, reply: Reply, start: float, attempt: int) -> Reply:
        cost = None if self.price is None else self.price.cost_usd(reply.usage)
        latency_s = time.monotonic() - start
        return replace(reply, cost_usd=cost, latency_s=latency_s, attempts=attempt)

    async def _wait(self, error: LanguageModelError, attempt: int) -> None:
        wait_s = self._retry.wait_s(attempt, error)
        if wait_s is None:
            raise error
        tell_wait(self.name, attempt, wait_s, error)
        await self._retry.sleep(wait_s)


def _plain(answer: Any) -> Any:
    """Return litellm's object as plain values."""
    return answer.model_dump(mode="json") if hasattr(answer, "model_dump") else answer


def _capabilities(model: str) -> Capabilities:
    values = known(model)
    if not values:
        return Capabilities(tools=True, schema=False)
    return Capabilities(
        tools=bool(values.get("supports_function_calling")),
        schema=bool(values.get("supports_response_schema")),
        images=bool(values.get("supports_vision")),
        cache=bool(values.get("supports_prompt_caching")),
        context_tokens=values.get("max_input_tokens"),
    )

"""A client of OpenAI-compatible servers: ours, vLLM, llama.cpp, or a hosted one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import orjson

from models.llm.base import Capabilities, Model
from models.llm.delta import StreamReader
from models.llm.errors import (
    LanguageModelError,
    MalformedReplyError,
    StreamCutError,
    UnreachableError,
)
from models.llm.messages import Message
from models.llm.prices import Price
from models.llm.reply import Chunk, Reply, Stream
from models.llm.request import Request
from models.llm.retry import PATIENT, RetryPolicy, tell_wait
from models.llm.secrets import ApiKey
from models.llm.sse import EventParser
from models.llm.transport import USUAL_LIMITS, HttpLimits, Transport
from models.llm.wire import OPENAI, Dialect, chat_body, completion_body, parse_reply


def plain_prompt(messages: tuple[Message, ...]) -> str:
    """Write messages as one text for a completion; a lone message stays as it is."""
    if len(messages) == 1:
        return messages[0].text
    return "".join(f"{m.role}: {m.text}\n\n" for m in messages) + "assistant:"


class HttpModel(Model):
    """A model behind an OpenAI-compatible address.

    Args:
        base_url: Such as `http://127.0.0.1:8000/v1`; holds no user or password.
        model: The name that the server knows.
        api_key: From `key_for`, or given by the caller; None: none is sent.
        headers: Further headers of each call.
        mode: `chat` or `completions`.
        dialect: How the server differs from OpenAI's first chat interface.
        retry: When to try again.
        limits: Times and concurrency.
        price: USD per million tokens; None: costs are not known.
        capabilities: What the model can do; None: what the mode and the dialect say.
        render: How `completions` writes messages as one prompt.

    Raises:
        BadRequestError: The address is none.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: ApiKey | None = None,
        headers: Mapping[str, str] | None = None,
        mode: Literal["chat", "completions"] = "chat",
        dialect: Dialect = OPENAI,
        retry: RetryPolicy = PATIENT,
        limits: HttpLimits = USUAL_LIMITS,
        price: Price | None = None,
        capabilities: Capabilities | None = None,
        render: Callable[[tuple[Message, ...]], str] = plain_prompt,
    ) -> None:
        is_chat = mode == "chat"
        has_schema = dialect.schema_field != "none"
        name = f"{model}@{urlsplit(base_url).netloc.rpartition('@')[2]}"
        usual = Capabilities(is_chat, has_schema, images=is_chat, logprobs=True)
        super().__init__(name, capabilities or usual, price)
        self._transport = Transport(base_url, name, api_key, headers or {}, limits)
        self._model = model
        self._path = "/chat/completions" if is_chat else "/completions"
        self._dialect = dialect
        self._retry = retry
        self._limits = limits
        self._render = render

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        await self._transport.aclose()

    async def _generate(self, request: Request) -> Reply:
        # The same id again is the same call, also while the first one is under way.
        return await self._transport.line().once.reply(request, lambda: self._call(request))

    async def _call(self, request: Request) -> Reply:
        start, attempt = time.monotonic(), 0
        until = asyncio.get_running_loop().time() + self._limits.timeout_s
        body, headers = self._body(request, stream=False), _call_headers(request)
        while True:
            attempt += 1
            try:
                data = await self._transport.post(self._path, body, headers, until)
                reply = parse_reply(self._load(data), request, self._model)
                return self._finished(reply, start, attempt)
            except LanguageModelError as error:
                await self._wait(error, attempt, until)

    async def _stream(self, request: Request) -> Stream:
        start, attempt, has_begun = time.monotonic(), 0, False
        until = asyncio.get_running_loop().time() + self._limits.timeout_s
        body, headers = self._body(request, stream=True), _call_headers(request)
        while True:
            attempt += 1
            try:
                async with aclosing(self._chunks(request, body, headers, until)) as chunks:
                    async for chunk in chunks:
                        has_begun = True
                        if chunk.reply is not None:
                            whole = self._finished(chunk.reply, start, attempt)
                            chunk = replace(chunk, reply=whole)
                        yield chunk
                return
            except LanguageModelError as error:
                # What was shown cannot be taken back: only a silent failure is tried again.
                if has_begun:
                    raise
                await self._wait(error, attempt, until)

    async def _chunks(
        self, request: Request, body: bytes, headers: dict[str, str], until: float
    ) -> Stream:
        parser, reader = EventParser(), StreamReader(request, self._model)
        try:
            async with aclosing(self._transport.stream(self._path, body, headers, until)) as pieces:
                async for piece in pieces:
                    for data in parser.feed(piece):
                        self._refuse_error_event(data)
                        for chunk in reader.feed(data):
                            yield chunk
                    if reader.is_done:
                        break
        except UnreachableError as error:
            if not reader.text:
                raise
            raise StreamCutError(f"a reply was cut: {error}", text=reader.text) from None
        except LanguageModelError as error:
            error.text = error.text or reader.text
            raise
        yield Chunk(reply=reader.reply())

    def _body(self, request: Request, *, stream: bool) -> bytes:
        if self._path == "/completions":
            prompt = self._render(request.messages)
            return completion_body(self._model, prompt, request, self._dialect, stream=stream)
        return chat_body(self._model, request, self._dialect, stream=stream)

    def _load(self, data: bytes) -> Any:
        try:
            values = orjson.loads(data)
        except ValueError as error:
            raise MalformedReplyError(
                f"{self.name} answered with no JSON ({error}); is this an OpenAI-compatible "
                "server?",
                text=data[:2_000].decode("utf-8", "replace"),
            ) from None
        if isinstance(values, dict) and values.get("error") and "choices" not in values:
            raise self._transport.refusal(200, {}, data)
        return values

    def _refuse_error_event(self, data: str) -> None:
        # Looked for before parsing: almost no event is one.
        if '"error"' in data[:200] and '"choices"' not in data:
            raise self._transport.refusal(200, {}, data.encode())

    def _finished(self, reply: Reply, start: float, attempt: int) -> Reply:
        cost = None if self._price is None else self._price.cost_usd(reply.usage)
        latency_s = time.monotonic() - start
        return replace(reply, cost_usd=cost, latency_s=latency_s, attempts=attempt)

    async def _wait(self, error: LanguageModelError, attempt: int, until: float) -> None:
        """Wait before the next try, or raise the error that ended the last one."""
        wait_s = self._retry.wait_s(attempt, error)
        left_s = until - asyncio.get_running_loop().time()
        if wait_s is None or wait_s >= left_s:
            raise error
        tell_wait(self.name, attempt, wait_s, error)
        await self._retry.sleep(wait_s)


def _call_headers(request: Request) -> dict[str, str]:
    # One id for all tries of a call: a server that knows it answers twice, but works once.
    call_id = request.id or uuid4().hex
    return {"idempotency-key": call_id, "x-request-id": call_id}

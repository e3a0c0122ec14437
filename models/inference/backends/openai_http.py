"""A plan carried out by a server with OpenAI's interface: plan order, warm prefixes, patience.

Rows go out in the order of the plan. The first row of a group goes alone, so that the server
has the prefix in its cache when the others come. A refusal that belongs to a row becomes that
row's error; when nothing gets through any more, the backend stops and the rows stay open.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from models.errors import ConfigError, ServiceError
from models.inference.backends.base import BackendDownError, Sink, StopRequestedError, Watch, Work
from models.inference.bodies import Bodies
from models.inference.outcome import Failure, Finished
from models.inference.plan import Plan
from models.inference.requests import Choice, ErrorCode
from models.llm.errors import (
    AuthenticationError,
    ContentFilterError,
    ContextLengthError,
    LanguageModelError,
    LiveCallError,
    MalformedReplyError,
    ModelNotFoundError,
    QuotaError,
    UnreachableError,
)
from models.llm.retry import PATIENT, RetryPolicy, tell_wait
from models.llm.secrets import key_for
from models.llm.transport import HttpLimits, Transport

FAILURES_IN_A_ROW = 20
"""Rows that the server fails on one after another before it counts as down."""
# Failures that no other row would escape.
_FATAL = (AuthenticationError, ModelNotFoundError, LiveCallError, QuotaError)


@dataclass
class HttpBackend:
    """Runs shards on a server.

    Args:
        work: What to run; `bodies` holds the requests.
        watch: Where to tell of progress.
        retry: When to try again.
    """

    work: Work
    watch: Watch
    retry: RetryPolicy = PATIENT
    _held: list[tuple[int, Finished, LanguageModelError]] = field(default_factory=list)
    _down: LanguageModelError | None = None

    def run(self, plan: Plan, shard: int, sink: Sink) -> None:
        """Run all rows of a shard; see `Backend.run`."""
        asyncio.run(self._run(plan, shard, sink))

    def trace(self) -> Sequence[Any]:
        """Nothing: a server's steps are its own."""
        return ()

    async def _run(self, plan: Plan, shard: int, sink: Sink) -> None:
        config = self.work.config
        if config.url is None or self.work.bodies is None:
            raise ConfigError("backend openai_http needs the address of a server; set url")
        name = f"server {urlsplit(config.url).netloc.rpartition('@')[2]}"
        limits = HttpLimits(concurrency=config.concurrency)
        transport = Transport(config.url, name, key_for(config.url), {}, limits)
        bodies = Bodies(self.work.bodies)
        try:
            model = config.served_model or await _first_model(transport, name)
            line = _Line(transport, bodies, model)
            gate = asyncio.Semaphore(config.concurrency)
            async with asyncio.TaskGroup() as rows:
                for group in plan.run_order(shard):
                    await self._group(group.members.tolist(), line, gate, rows, sink)
        except* StopRequestedError:
            raise StopRequestedError from None
        except* ServiceError as errors:
            raise _first(errors) from None
        finally:
            bodies.close()
            await transport.aclose()
        if self._held and all(isinstance(error, UnreachableError) for *_, error in self._held):
            self._down = self._held[-1][2]
        if self._down is not None:
            raise BackendDownError(
                f"{name} does not work: {self._down}. What finished is kept; start the job again "
                "once it does"
            ) from None
        self._release(sink)

    async def _group(
        self,
        members: list[int],
        line: _Line,
        gate: asyncio.Semaphore,
        rows: asyncio.TaskGroup,
        sink: Sink,
    ) -> None:
        """Send a group: one row first, then the others as fast as the gate lets them."""

        async def send(prompt: int) -> None:
            try:
                if self._down is None and not self.watch.is_stopping:
                    await self._row(prompt, line, sink)
            finally:
                gate.release()

        for number, prompt in enumerate(members):
            await gate.acquire()
            self.watch.check()
            if self._down is not None:
                gate.release()
                return
            task = rows.create_task(send(prompt))
            if number == 0 and len(members) > 1:
                await asyncio.wait([task])

    async def _row(self, prompt: int, line: _Line, sink: Sink) -> None:
        sampling = self.work.samplings[prompt]
        path, body = line.bodies.read(prompt, sampling, line.model)
        data = orjson.dumps(body)
        # The same row has the same id in every try and every start of the job.
        call_id = hashlib.sha256(path.encode() + data).hexdigest()[:32]
        headers = {"idempotency-key": call_id, "x-request-id": call_id}
        attempt = 0
        until = asyncio.get_running_loop().time() + HttpLimits().timeout_s
        while True:
            attempt += 1
            self.watch.counters.steps += 1
            try:
                answer = await line.transport.post(path, data, headers, until)
                outcome = _parsed(answer)
                break
            except LanguageModelError as error:
                wait_s = self.retry.wait_s(attempt, error)
                if wait_s is None or self.watch.is_stopping:
                    self._failed(prompt, error, sink)
                    return
                tell_wait(line.model, attempt, wait_s, error)
                await self.retry.sleep(wait_s)
        counters = self.watch.counters
        counters.prompt_tokens += outcome.prompt_tokens - outcome.cached_tokens
        counters.cached_tokens += outcome.cached_tokens
        self._release(sink)
        sink(prompt, outcome)

    def _failed(self, prompt: int, error: LanguageModelError, sink: Sink) -> None:
        """Give a row its error, unless the server is to blame for it."""
        if isinstance(error, _FATAL):
            self._down = self._down or error
        elif not error.retryable:
            sink(prompt, Finished(failure=_failure(error)))
        elif not self.watch.is_stopping:
            # Kept until another row succeeds: of a server that is down they say nothing.
            self._held.append((prompt, Finished(failure=_failure(error)), error))
            if len(self._held) >= FAILURES_IN_A_ROW:
                self._down = self._down or error

    def _release(self, sink: Sink) -> None:
        """Hand out failures: the server works, so the rows were to blame."""
        for prompt, outcome, _ in self._held:
            sink(prompt, outcome)
        self._held.clear()


def _failure(error: LanguageModelError) -> Failure:
    if error.retryable:
        return Failure("server_error", str(error))
    code: ErrorCode = "request_refused"
    if isinstance(error, ContextLengthError):
        code = "context_length_exceeded"
    elif isinstance(error, ContentFilterError):
        code = "content_filter"
    return Failure(code, str(error), type="invalid_request_error")


@dataclass(frozen=True)
class _Line:
    """What every request needs."""

    transport: Transport
    bodies: Bodies
    model: str


async def _first_model(transport: Transport, name: str) -> str:
    """Ask a server for the first model that it lists."""
    import httpx

    line = transport.line()
    try:
        answer = await line.client.get(transport.base_url + "/models")
        listed = answer.json()["data"]
        return str(listed[0]["id"])
    except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BackendDownError(
            f"{name} does not say which models it has ({type(error).__name__}: {error}); is it up? "
            "Otherwise name the model with served_model"
        ) from None


def _parsed(answer: bytes) -> Finished:
    """Read a completion.

    Raises:
        MalformedReplyError: It is none.
    """
    try:
        values = orjson.loads(answer)
        usage = values.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        emitted = usage.get("completion_tokens")
        choices = tuple(
            _choice(choice) for choice in sorted(values["choices"], key=lambda c: c.get("index", 0))
        )
        if not choices:
            raise KeyError("choices")
        return Finished(
            choices,
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            cached_tokens=int(details.get("cached_tokens") or 0),
            counted_tokens=None if emitted is None else int(emitted),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MalformedReplyError(
            f"the server's answer is no completion ({type(error).__name__}: {error}); is it "
            "OpenAI-compatible?",
            text=answer[:500].decode("utf-8", "replace"),
        ) from None


def _choice(choice: dict[str, Any]) -> Choice:
    text = choice["message"]["content"] if "message" in choice else choice["text"]
    reason = choice.get("finish_reason")
    if reason == "content_filter":
        raise ContentFilterError("the provider cut the answer by its content filter")
    ids = choice.get("token_ids") or ()
    return Choice(tuple(ids), text or "", "length" if reason == "length" else "stop")


def _first(errors: BaseExceptionGroup[Any]) -> BaseException:
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner

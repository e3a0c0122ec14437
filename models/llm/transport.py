"""Bytes to a server and back: connections, time limits, refusals as typed errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from models.llm.errors import (
    BadRequestError,
    LanguageModelError,
    MalformedReplyError,
    ReplyTimeoutError,
    UnreachableError,
)
from models.llm.guard import check_live, is_loopback
from models.llm.http_errors import error_of
from models.llm.once import OncePerId
from models.llm.secrets import ApiKey, redact

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

MAX_REPLY_BYTES = 64 * 1024**2
"""A server that never ends its answer must not fill our memory."""


@dataclass(frozen=True)
class HttpLimits:
    """Times and numbers of one client."""

    timeout_s: float = 600.0
    """For a whole call, with its retries and their waits."""
    idle_s: float = 300.0
    """Longest silence of the server; a reply that is not streamed comes after one silence."""
    connect_s: float = 10.0
    """For opening a connection."""
    concurrency: int = 16
    """Most calls at a time, per event loop."""


USUAL_LIMITS = HttpLimits()


@dataclass
class Line:
    """What belongs to one event loop: its connections, its gate, its request ids."""

    client: httpx.AsyncClient
    gate: asyncio.Semaphore
    once: OncePerId = field(default_factory=OncePerId)


class Transport:
    """Posts to one server; raises `LanguageModelError` only."""

    def __init__(
        self,
        base_url: str,
        name: str,
        key: ApiKey | None,
        headers: Mapping[str, str],
        limits: HttpLimits,
    ) -> None:
        place = urlsplit(base_url)
        if place.scheme not in ("http", "https") or not place.hostname or "@" in place.netloc:
            raise BadRequestError(
                f"'{place.scheme}://{place.hostname or ''}' with what follows is no address of a "
                "server; write http://HOST:PORT/v1, and name the key's variable in "
                "LOOM_LLM_KEY_VARIABLES"
            )
        self.base_url = base_url.rstrip("/")
        self._name = name
        self._key = key
        self._headers = dict(headers)
        self._limits = limits
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, Line] = WeakKeyDictionary()

    def line(self) -> Line:
        """Return what belongs to the running loop."""
        import httpx

        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            limits = self._limits
            client = httpx.AsyncClient(
                timeout=httpx.Timeout(limits.idle_s, connect=limits.connect_s, pool=None),
                limits=httpx.Limits(
                    max_connections=limits.concurrency,
                    max_keepalive_connections=limits.concurrency,
                ),
                # A proxy of the environment must not carry what is meant for this machine.
                trust_env=not is_loopback(self.base_url),
            )
            line = self._lines[loop] = Line(client, asyncio.Semaphore(limits.concurrency))
        return line

    async def aclose(self) -> None:
        """Close the connections of the running loop."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.client.aclose()

    async def post(self, path: str, body: bytes, headers: dict[str, str], until: float) -> bytes:
        """Post and return the whole answer.

        Args:
            path: Below the base address, such as `/chat/completions`.
            body: JSON.
            headers: Of this call, beside those of the client.
            until: Time of the running loop at which to give up.
        """
        data = bytearray()
        async with aclosing(self.stream(path, body, headers, until)) as pieces:
            async for piece in pieces:
                data += piece
                if len(data) > MAX_REPLY_BYTES:
                    raise MalformedReplyError(
                        f"{self._name} sent more than {MAX_REPLY_BYTES} bytes; lower max_tokens"
                    )
        return bytes(data)

    async def stream(
        self, path: str, body: bytes, headers: dict[str, str], until: float
    ) -> AsyncGenerator[bytes, None]:
        """Post and yield the answer as it comes; leaving early closes the connection."""
        check_live(self.base_url, self._name)
        line = self.line()
        sent = {"content-type": "application/json", **self._headers, **headers}
        if self._key:
            sent["authorization"] = f"Bearer {self._key.reveal()}"
        request = line.client.build_request(
            "POST", self.base_url + path, content=body, headers=sent
        )
        async with line.gate:
            response = await self._timed(line.client.send(request, stream=True), until)
            try:
                if response.status_code != 200:
                    said = await self._timed(response.aread(), until)
                    raise self.refusal(response.status_code, response.headers, said)
                pieces = response.aiter_bytes()
                while (piece := await self._timed(anext(pieces, None), until)) is not None:
                    yield piece
            finally:
                await response.aclose()

    def refusal(self, status: int, headers: Mapping[str, str], body: bytes) -> LanguageModelError:
        """Translate a refusal; a server that repeats our key does not get it into a message."""
        error = error_of(status, headers, body, self._name)
        error.args = (redact(str(error), *([self._key] if self._key else [])),)
        return error

    async def _timed(self, work: Awaitable[T], until: float) -> T:
        """Wait for a step; never across a yield, since a time limit belongs to its task."""
        import httpx

        try:
            async with asyncio.timeout_at(until):
                return await work
        except httpx.ConnectTimeout:
            raise UnreachableError(
                f"{self._name} did not accept a connection in {self._limits.connect_s:g} s; is "
                "the server up?"
            ) from None
        except httpx.TimeoutException:
            raise ReplyTimeoutError(
                f"{self._name} was silent for {self._limits.idle_s:g} s; raise idle_s, or stream"
            ) from None
        except TimeoutError:
            raise ReplyTimeoutError(
                f"{self._name} gave no whole reply in {self._limits.timeout_s:g} s; raise "
                "timeout_s, or ask for fewer tokens"
            ) from None
        except httpx.DecodingError as error:
            raise MalformedReplyError(
                f"{self._name} sent an answer that cannot be decompressed ({error}); ask again"
            ) from None
        except httpx.TransportError as error:
            raise UnreachableError(
                f"the connection to {self._name} failed ({type(error).__name__}: {error}); is the "
                "server up?"
            ) from None

"""A server at an address: streamable HTTP, or the older server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import httpx2
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from models.agents.mcp.stdio import MOST_MESSAGE_BYTES

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

_CONNECT_S = 10.0


class _Capped(httpx2.AsyncByteStream):
    """A body that ends with an error where it grows too long."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for piece in self._inner:
            size += len(piece)
            if size > MOST_MESSAGE_BYTES:
                raise httpx2.ReadError(f"it sent more than {MOST_MESSAGE_BYTES:,} bytes")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


async def _cap(response: httpx2.Response) -> None:
    kind = response.headers.get("content-type", "").lower()
    # Streams of events live as long as the connection; there each event is capped.
    if not kind.startswith("text/event-stream"):
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Capped(response.stream)


@contextlib.asynccontextmanager
async def http_streams(
    url: str, headers: Mapping[str, str], timeout_s: float
) -> AsyncIterator[TransportStreams]:
    """Give the streams of messages with a server that speaks streamable HTTP."""
    limits = httpx2.Timeout(_CONNECT_S, read=max(300.0, timeout_s + 5))
    client = httpx2.AsyncClient(
        headers=dict(headers), timeout=limits, event_hooks={"response": [_cap]}
    )
    opened = streamable_http_client(url, http_client=client, max_sse_event_size=MOST_MESSAGE_BYTES)
    async with client, opened as streams:
        yield streams


@contextlib.asynccontextmanager
async def sse_streams(url: str, headers: Mapping[str, str]) -> AsyncIterator[TransportStreams]:
    """Give the streams of messages with a server that speaks the older protocol."""
    async with sse_client(url, headers=dict(headers), timeout=_CONNECT_S) as streams:
        yield streams

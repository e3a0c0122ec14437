"""HTTP and WebSocket to a program at a Unix socket, without what is ours in them.

Imported when the first program is shown: the two clients would be a tenth of a server's boot.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Origin, Subprotocol

from models.agents.server.either import either
from models.agents.server.panes.base import MOST_FRAME_BYTES

log = logging.getLogger("loom.agents.server")

_CONNECT_S = 10.0
_OPEN_S = 20.0
_CLOSE_S = 1.0
_HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
               b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
               b"expect"}  # fmt: skip
_OURS = {b"authorization", b"cookie", b"forwarded"}
"""What shows who somebody is to us and is no business of the program."""
_UNSAID = {1005, 1006, 1015}
"""Codes of closing that are never sent."""


def for_the_program(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request that the program gets."""
    return [
        (name, value)
        for name, value in headers
        if name not in _HOP_BY_HOP and name not in _OURS and not name.startswith(b"x-forwarded")
    ]


def without_hops(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that are not about one connection only."""
    return [(name.lower(), value) for name, value in headers if name.lower() not in _HOP_BY_HOP]


class Forward:
    """Answers with what the program answers.

    Args:
        address: Path of its socket.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        # Long polls may be silent for ever; whoever asked ends them.
        patience = httpx.Timeout(None, connect=_CONNECT_S)
        self._timeouts = {"timeout": patience.as_dict()}
        # A connection for each request costs nothing here, and none is left when it ends.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._transport = httpx.AsyncHTTPTransport(uds=address, limits=limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = for_the_program(scope["headers"])
        sent = {name for name, _ in scope["headers"]}
        has_body = b"content-length" in sent or b"transfer-encoding" in sent
        request = httpx.Request(
            scope["method"],
            httpx.URL(scheme="http", host="pane", raw_path=_target(scope)),
            headers=headers,
            content=_body(receive) if has_body else None,
            extensions=self._timeouts,
        )
        try:
            answer = await self._transport.handle_async_request(request)
        except (httpx.HTTPError, OSError) as error:
            told = f"the program does not answer ({type(error).__name__}); it may have ended"
            await PlainTextResponse(told, 502)(scope, receive, send)
            return
        try:
            start = {"type": "http.response.start", "status": answer.status_code}
            await send({**start, "headers": without_hops(answer.headers.raw)})
            await either(_give(answer, send), _gone(receive))
        except (httpx.HTTPError, OSError):
            # What was begun cannot be taken back: the connection breaks, and so it is seen.
            log.warning("a program ended within its answer")
        finally:
            await answer.aclose()

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        given = Headers(scope=scope)
        offered = [Subprotocol(name) for name in scope.get("subprotocols", ())]
        kept = ("user-agent", "accept-language")
        try:
            program = await unix_connect(
                self._address,
                f"ws://{given.get('host', 'pane')}{_target(scope).decode('ascii')}",
                origin=Origin(given["origin"]) if "origin" in given else None,
                subprotocols=offered or None,
                additional_headers={name: given[name] for name in kept if name in given},
                user_agent_header=None,
                # Packed twice is not smaller, and a bomb must not unpack here.
                compression=None,
                max_size=MOST_FRAME_BYTES,
                open_timeout=_OPEN_S,
                ping_interval=None,
                close_timeout=_CLOSE_S,
            )
        except (OSError, InvalidHandshake, InvalidURI, TimeoutError):
            await send({"type": "websocket.close", "code": 1011, "reason": "it does not answer"})
            return
        async with program:
            await send({"type": "websocket.accept", "subprotocol": program.subprotocol})
            await either(_out(program, send), _back(program, receive))


def _target(scope: Scope) -> bytes:
    """Return path and query as they were asked for."""
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return raw + b"?" + query if query else raw


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionAbortedError("the body did not come to its end")
        yield message.get("body", b"")
        if not message.get("more_body", False):
            return


async def _give(answer: httpx.Response, send: Send) -> None:
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    # As it was packed: its length and coding stay true.
    async for piece in answer.stream:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _out(program: ClientConnection, send: Send) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            said = await program.recv()
            kind = "text" if isinstance(said, str) else "bytes"
            await send({"type": "websocket.send", kind: said})
    code = program.close_code or 1011
    frame: dict[str, Any] = {"type": "websocket.close", "code": 1011 if code in _UNSAID else code}
    await send({**frame, "reason": program.close_reason or ""})


async def _back(program: ClientConnection, receive: Receive) -> None:
    with contextlib.suppress(ConnectionClosed):
        while (message := await receive())["type"] == "websocket.receive":
            await program.send(_said(message))


def _said(message: Message) -> str | bytes:
    text: str | None = message.get("text")
    return message["bytes"] if text is None else text

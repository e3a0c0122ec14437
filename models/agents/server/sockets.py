"""The socket of a conversation: every event once and in order, from any event on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, WebSocket, WebSocketDisconnect

from models.agents.errors import LogError
from models.agents.server.auth import Scope, bearer, from_protocols
from models.agents.server.either import either
from models.agents.server.live import Live
from models.agents.server.state import Parts, Server
from models.errors import ProjectError

router = APIRouter()

UNAUTHORISED, UNKNOWN, MALFORMED, SLOW, FULL = 4001, 4004, 4400, 4408, 1013
PROTOCOL = "loom"

_FIRST_FRAME_S = 10.0
_MOST_FRAMES = 100
"""Frames within a heartbeat that a socket for watching may send."""


class Refused(Exception):  # noqa: N818 - an answer
    """The socket is closed with a code and a reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@contextlib.asynccontextmanager
async def opened(server: Server, socket: WebSocket) -> AsyncIterator[None]:
    """Accept a socket; whatever refuses it within the context closes it with a reason."""
    protocol = PROTOCOL if PROTOCOL in socket.scope.get("subprotocols", ()) else None
    await socket.accept(subprotocol=protocol)
    server.sockets += 1
    try:
        yield
    except Refused as refusal:
        await _close(socket, refusal.code, refusal.reason)
    except ProjectError as error:
        await _close(socket, MALFORMED, str(error))
    except WebSocketDisconnect:
        pass
    finally:
        server.sockets -= 1


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    # The protocol has room for 123 bytes.
    short = reason.encode()[:120].decode(errors="ignore")
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):
        await socket.close(code, short)


@contextlib.asynccontextmanager
async def admitted(
    server: Server, socket: WebSocket, name: str, scope: Scope
) -> AsyncIterator[Live]:
    """Give the conversation to a socket whose key allows a scope.

    A context within `opened`, and no part of it: one that refuses cannot pass over its body.
    """
    if server.sockets > server.config.most_sockets:
        raise Refused(FULL, f"{server.config.most_sockets} sockets are open, the most")
    await _admit(server, socket, name, scope)
    async with server.registry.use(name) as live:
        yield live


async def _admit(server: Server, socket: WebSocket, name: str, scope: Scope) -> None:
    shown = bearer(socket.headers) or from_protocols(socket.scope.get("subprotocols", ()))
    if server.keeper.has_key and not shown:
        try:
            async with asyncio.timeout(_FIRST_FRAME_S):
                shown = str(parsed(await socket.receive())["key"])
        except (TimeoutError, KeyError, Refused):
            raise Refused(UNAUTHORISED, 'the first frame must be {"key": ...}') from None
    grant = server.keeper.grant(shown)
    if grant is None or not grant.allows(scope, name):
        raise Refused(UNAUTHORISED, f"this needs a key with the scope '{scope}'")
    try:
        exists = await server.workers.do(server.home.store.exists, name)
    except LogError:
        exists = False
    if not exists:
        raise Refused(UNKNOWN, "there is no such conversation")


def parsed(message: Any) -> dict[str, Any]:
    """Return the object in a frame.

    Raises:
        WebSocketDisconnect: It was the last one.
        Refused: It holds something else.
    """
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    try:
        values = orjson.loads(message.get("text") or message.get("bytes") or b"")
    except ValueError:
        raise Refused(MALFORMED, "a frame must be a JSON object") from None
    if not isinstance(values, dict):
        raise Refused(MALFORMED, "a frame must be a JSON object")
    return values


@router.websocket("/ws/conversations/{id:path}")
async def conversation(
    socket: WebSocket,
    server: Parts,
    id: str,
    after: Annotated[str, Query(description="Number of an event.")] = "0",
    deltas: Annotated[bool, Query()] = False,
) -> None:
    """Send events after one, then those that happen; with `deltas` also pieces of answers."""
    async with opened(server, socket), admitted(server, socket, id, "read") as live:
        with live.hub.watched(_place(after, live.log.state.seq), deltas=deltas) as watcher:
            frames = watcher.frames(
                server.config.heartbeat_s, lambda: server.runs.status_frame(live)
            )
            await either(_send_all(socket, frames, server), ignore_all(socket, server))


def _place(after: str, last: int) -> int:
    # Here and not by its type: a socket that is refused before it opens hears no reason.
    if not (after.isascii() and after.isdecimal()):
        raise Refused(MALFORMED, f"after={after[:20]} is no number of an event; 0 gives all")
    if len(after) > 18 or int(after) > last:
        raise Refused(MALFORMED, f"there is no event {after[:20]} yet; the last one is {last}")
    return int(after)


async def _send_all(socket: WebSocket, frames: AsyncIterator[bytes], server: Server) -> None:
    async for frame in frames:
        await send(socket, frame.decode(), server)
    raise Refused(UNKNOWN, "the conversation was closed")


async def send(socket: WebSocket, text: str, server: Server) -> None:
    """Send a frame; whoever takes none for too long is closed.

    Raises:
        Refused: It took nothing.
    """
    try:
        async with asyncio.timeout(server.config.patience_s):
            await socket.send_text(text)
    except TimeoutError:
        raise Refused(SLOW, "this socket takes nothing; come back with `after`") from None


async def ignore_all(socket: WebSocket, server: Server) -> None:
    """Read what a watcher says, which is nothing that counts, and not too much of it."""
    loop = asyncio.get_running_loop()
    count, since = 0, loop.time()
    while True:
        parsed(await socket.receive())
        if loop.time() - since > server.config.heartbeat_s:
            count, since = 0, loop.time()
        count += 1
        if count > _MOST_FRAMES:
            raise Refused(MALFORMED, "this socket is for watching; use the routes to speak")

"""What a browser reaches at the port of a pane: that pane, with a ticket, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send
from uvicorn import Config, Server

from models.agents.server.auth import Gatekeeper
from models.agents.server.config import ServerConfig
from models.agents.server.panes.base import MOST_FRAME_BYTES
from models.agents.server.panes.pane import COOKIE
from models.agents.server.panes.panes import Panes

_STRIPPED = (b"set-cookie", b"clear-site-data", b"service-worker-allowed",
             b"strict-transport-security", b"public-key-pins", b"alt-svc", b"nel", b"report-to",
             b"reporting-endpoints", b"x-frame-options", b"server")  # fmt: skip
"""Headers of programs that would count beyond their own pages, or for the host as a whole."""

CLOSED = "no pane is open here; open one in the web workspace"


class Door:
    """The application at the ports of panes.

    Args:
        panes: Those of the server.
        gatekeeper: Keeps pages of others out.
    """

    def __init__(self, panes: Panes, gatekeeper: Gatekeeper) -> None:
        self._panes = panes
        self._gatekeeper = gatekeeper

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or refuse."""
        if scope["type"] not in ("http", "websocket"):
            return
        headers = Headers(scope=scope)
        refused = self._gatekeeper.why_not(headers) or _why_not_from(headers)
        if refused:
            await _refuse(403, refused, scope, receive, send)
            return
        pane = self._panes.at(scope["server"][1])
        raw: bytes = scope["raw_path"].partition(b"?")[0]
        if pane is None or not raw.startswith(f"{pane.prefix}/".encode()):
            await _refuse(404, CLOSED, scope, receive, send)
            return
        tickets = map(pane.origin_of, _shown(headers))
        origin = next((origin for origin in tickets if origin), None)
        if origin is None or pane.app is None:
            await _refuse(401, "open this pane in the web workspace", scope, receive, send)
            return
        raw = raw.removeprefix(pane.prefix.encode())
        inner = {**scope, "path": unquote(raw.decode("ascii")), "raw_path": raw}
        with pane.used():
            await pane.app(inner, receive, _guarded(send, origin, is_entry=raw == b"/"))


class _Beside(Server):
    """A server within another, which alone hears signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them to the other."""
        yield


@contextlib.asynccontextmanager
async def doors(panes: Panes, gatekeeper: Gatekeeper, config: ServerConfig) -> AsyncIterator[None]:
    """Serve the ports of panes for as long as the context lasts."""
    if not panes.sockets:
        yield
        return
    options = Config(
        Door(panes, gatekeeper),
        ws="websockets-sansio",
        ws_max_size=MOST_FRAME_BYTES,
        ws_ping_timeout=config.patience_s,
        ws_per_message_deflate=False,
        limit_concurrency=config.most_sockets,
        lifespan="off",
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _Beside(options)
    serving = asyncio.create_task(server.serve(panes.sockets))
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)


def _why_not_from(headers: Headers) -> str:
    """Return why a request is refused by where it comes from, as far as browsers say it.

    Another pane is of the same site, for cookies know no ports, and may ask without an `Origin`.
    """
    place = headers.get("sec-fetch-site", "none")
    is_frame = headers.get("sec-fetch-dest") == "iframe"
    if place in ("none", "same-origin") or (place == "same-site" and is_frame):
        return ""
    return "a pane is opened by the web workspace only"


def _shown(headers: Headers) -> list[str]:
    # All: one that a page made up, with a longer path, would come before ours.
    parts = [part.strip() for line in headers.getlist("cookie") for part in line.split(";")]
    return [part.partition("=")[2] for part in parts if part.startswith(f"{COOKIE}=")]


def _guarded(send: Send, origin: str, *, is_entry: bool) -> Send:
    """Let a program's answers count for its own pages only."""
    ours = [
        # Itself too: VS Code shows previews in frames within its own.
        (b"content-security-policy", f"frame-ancestors {origin} 'self'".encode()),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"referrer-policy", b"same-origin"),
    ]
    if is_entry:
        # What a pane left that was at this port before is not for this one.
        ours.append((b"clear-site-data", b'"cache", "storage"'))

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message["headers"]
                if name not in _STRIPPED and not name.startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *ours]}
        elif message["type"] == "websocket.accept":
            message = {**message, "headers": []}
        await send(message)

    return guarded


async def _refuse(status: int, told: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": told[:120]})
        return
    await PlainTextResponse(f"{told}\n", status, {"cache-control": "no-store"})(
        scope, receive, send
    )

"""What every request passes before any route: pages of others, keys, sizes."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.agents.server.auth import bearer
from models.agents.server.failures import refusal
from models.agents.server.state import Server

_GUARDED = ("/api/", "/v1/")
_NO_KEY = "this server needs a key: send it as `Authorization: Bearer KEY`"
_NOT_TAKEN = "this key or token is not taken: it is another server's, or its time is over"


class Gate:
    """Refuses before anything is read; `scope["grant"]` says what the caller may do.

    Args:
        app: What lies behind it.
        server: Its parts.
    """

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._it = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = self._it.gatekeeper.why_not(headers)
        if scope["type"] == "websocket":
            if refused:
                await send({"type": "websocket.close", "code": 1008, "reason": refused[:120]})
            else:
                await self._app(scope, receive, send)
            return
        if refused:
            await refusal(403, "ForbiddenError", refused)(scope, receive, send)
            return
        path: str = scope["path"]
        if not path.startswith(_GUARDED):
            # Health and the files of the web page: nothing in them is anybody's.
            await self._app(scope, receive, send)
            return
        shown = bearer(headers)
        grant = self._it.keeper.grant(shown)
        if grant is None:
            told = _NOT_TAKEN if shown else _NO_KEY
            await refusal(401, "UnauthorisedError", told)(scope, receive, send)
            return
        scope["grant"] = grant
        if scope["method"] == "PUT":
            await self._app(scope, receive, send)  # files have a limit of their own
            return
        await self._limited(scope, receive, send, headers)

    async def _limited(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        most, size = self._it.config.body_bytes, 0
        told = f"a body has at most {most:,} bytes"
        stated = headers.get("content-length", "")
        if stated.isdigit() and int(stated) > most:
            await refusal(413, "TooLargeError", told)(scope, receive, send)
            return

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > most:
                raise HTTPException(413, told)
            return message

        await self._app(scope, counted, send)

"""The socket on which people watch the browser of an agent; they touch nothing in it."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, WebSocket

from models.agents.background import there
from models.agents.server.either import either
from models.agents.server.live import Live
from models.agents.server.sockets import SLOW, Refused, admitted, ignore_all, opened, send
from models.agents.server.state import Parts, Server
from models.agents.tools.browser.driver import Browser
from models.agents.tools.browser.screencast import Picture, Screencast

router = APIRouter()

NONE_YET = "the agent has not opened a browser, or has closed all its tabs"
_LOOK_S = 0.5


@router.websocket("/ws/browsers/{id:path}")
async def browser(socket: WebSocket, server: Parts, id: str) -> None:
    """Send pictures as binary frames (JPEG) when they change; `page` and `none` say of what."""
    async with opened(server, socket), admitted(server, socket, id, "read") as live:
        await either(_show(socket, server, live), ignore_all(socket, server))


async def _show(socket: WebSocket, server: Server, live: Live) -> None:
    told: str | None = None
    while not live.is_gone:
        found = live.conversation.session.find("browser")
        if not isinstance(found, Browser) or not found.pages:
            if told != "":
                told = ""
                await send(socket, _frame("none", why=NONE_YET), server)
            await asyncio.sleep(_LOOK_S)
            continue
        cast = Screencast(found)
        try:
            while found.pages:
                picture = await there(cast.next(server.config.heartbeat_s))
                if picture is None:
                    await send(socket, _frame("heartbeat"), server)
                    continue
                if picture.address != told:
                    told = picture.address
                    shown = live.secrets.mask(told)
                    await send(socket, _frame("page", address=shown), server)
                await _send(socket, picture, server)
        finally:
            await there(cast.aclose())
    raise Refused(1000, "the conversation was deleted")


async def _send(socket: WebSocket, picture: Picture, server: Server) -> None:
    try:
        async with asyncio.timeout(server.config.patience_s):
            await socket.send_bytes(picture.jpeg)
    except TimeoutError:
        raise Refused(SLOW, "this socket takes nothing; come back") from None


def _frame(kind: str, **values: Any) -> str:
    return orjson.dumps({"type": kind, **values}).decode()

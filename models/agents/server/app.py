"""The application: routes, refusals, static files, and the contract that they make."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from models.agents.server import (
    commands,
    conversations,
    events,
    files,
    gateway,
    sockets,
    steering,
    terminals,
)
from models.agents.server.config import ServerConfig
from models.agents.server.failures import explain_failures
from models.agents.server.middleware import Gate
from models.agents.server.pages import Pages
from models.agents.server.panes import pictures
from models.agents.server.panes import routes as panes
from models.agents.server.panes.door import doors
from models.agents.server.state import Parts, Server, make_server
from models.settings import ROOT

log = logging.getLogger("loom.agents.server")

WEB = Path(__file__).resolve().parent.parent / "web"
CONTRACT = ROOT / "docs" / "agents-openapi.json"
VERSION = "1"


def make_app(
    config: ServerConfig, key: str = "", pane_sockets: Sequence[socket.socket] = ()
) -> FastAPI:
    """Make the application of a server; nothing is read or started before it is served.

    Args:
        config: What it is told.
        key: What callers show; empty: everybody who reaches it may do everything.
        pane_sockets: Bound, one for each program beside a conversation at a time.
    """
    server = make_server(config, key)
    server.panes.sockets = [*pane_sockets]
    app = FastAPI(
        title="Loomworks agents",
        version=VERSION,
        description="Conversations of agents: typed, durable, sandboxed.",
        lifespan=lambda _: _lifetime(server),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation,
    )
    app.state.server = server
    explain_failures(app)
    app.add_api_route("/health", health, methods=["GET"], tags=["health"])
    parts = (conversations, steering, events, files, commands, sockets, terminals, gateway)
    for part in (*parts, panes, pictures):
        app.include_router(part.router)
    app.add_middleware(Gate, server=server)
    if config.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    if WEB.is_dir():
        app.mount("/", Pages(WEB, server.panes), name="web")
    return app


async def health(server: Parts) -> dict[str, Any]:
    """Say that the server answers, and how busy it is."""
    return {
        "status": "ok",
        "version": VERSION,
        "needs_key": server.keeper.has_key,
        "uptime_s": round(time.monotonic() - server.began, 1),
        "open": len(server.registry),
        "runs": len(server.runs),
        "sockets": server.sockets,
        "panes": len(server.panes),
    }


@contextlib.asynccontextmanager
async def _lifetime(server: Server) -> AsyncIterator[None]:
    server.home.folder.mkdir(parents=True, exist_ok=True)
    # What lives as long as the process need not be looked through again and again.
    gc.collect()
    gc.freeze()
    recovery = asyncio.create_task(_recover(server))
    try:
        async with doors(server.panes, server.gatekeeper, server.config):
            try:
                yield
            finally:
                # First: what waits for a program to say goodbye hears it then.
                await server.panes.aclose()
    finally:
        recovery.cancel()
        await asyncio.gather(recovery, return_exceptions=True)
        await server.runs.end()
        await server.registry.aclose()
        server.workers.close()


async def _recover(server: Server) -> None:
    found = await server.runs.recover(resume=server.config.on_restart == "resume")
    if found:
        done = "goes on with" if server.config.on_restart == "resume" else "marked as paused"
        log.warning("%s %d runs that were cut off: %s", done, len(found), ", ".join(found[:20]))


def _operation(route: APIRoute) -> str:
    return route.name.rstrip("_")


def contract(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI description of all routes, the key included."""
    described = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}]
    described["paths"]["/health"]["get"]["security"] = []
    return described


def contract_text() -> bytes:
    """Return the contract as the committed file has it."""
    app = make_app(ServerConfig(home=Path("home")))
    return orjson.dumps(contract(app), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"

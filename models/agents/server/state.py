"""What all routes of one server share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Depends, Path, Request
from starlette.requests import HTTPConnection

from models.agents.errors import ForbiddenError
from models.agents.home import AgentHome
from models.agents.server.auth import Gatekeeper, Grant, Keeper, Scope
from models.agents.server.bodies import ID
from models.agents.server.chats import Histories
from models.agents.server.config import ServerConfig
from models.agents.server.listing import Lister
from models.agents.server.live import Registry
from models.agents.server.panes.panes import Panes
from models.agents.server.runs import Runs
from models.agents.server.workers import Workers


@dataclass
class Server:
    """The parts of a running server."""

    config: ServerConfig
    keeper: Keeper
    home: AgentHome
    workers: Workers
    registry: Registry
    runs: Runs
    lister: Lister
    gatekeeper: Gatekeeper
    panes: Panes
    began: float = field(default_factory=time.monotonic)
    beginning: set[str] = field(default_factory=set)
    """Ids of conversations that are being made."""
    histories: Histories = field(default_factory=Histories)
    sockets: int = 0
    terminals: int = 0


def make_server(config: ServerConfig, key: str) -> Server:
    """Put the parts together; nothing is read or started."""
    keeper, workers = Keeper(key), Workers()
    home = AgentHome(config.home, config.durability)
    registry = Registry(home, workers, config.most_open, config.backlog)
    return Server(
        config,
        keeper,
        home,
        workers,
        registry,
        Runs(registry, workers, config.most_runs),
        Lister(home.store, workers),
        Gatekeeper(config, keeper.has_key),
        Panes(config, registry, workers),
    )


async def _server(connection: HTTPConnection) -> Server:
    server: Server = connection.app.state.server
    return server


def needs(scope: Scope) -> Any:
    """Return the dependency that lets callers with a scope through, and nobody else."""

    async def check(request: Request) -> None:
        grant: Grant = request.scope["grant"]
        conversation = request.path_params.get("id")
        if not grant.allows(scope, conversation):
            where = f"conversation '{conversation}'" if conversation else "the server as a whole"
            raise ForbiddenError(f"this needs the scope '{scope}' for {where}")

    check.__name__ = f"needs_{scope}"
    return Depends(check)


Parts = Annotated[Server, Depends(_server)]
"""The parts, as routes get them."""

Id = Annotated[str, Path(pattern=ID, description="The conversation.")]

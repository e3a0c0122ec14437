"""Routes: approvals, branches, questions, secrets, policies, titles, tokens, tools."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Response

from models.agents.branching import fork_log
from models.agents.server.bodies import (
    Accepted,
    Approve,
    Details,
    Fork,
    NewSecrets,
    NewTitle,
    NewToken,
    Offers,
    Question,
    Reject,
    Rewind,
    ToolInfo,
)
from models.agents.server.conversations import accepted, details
from models.agents.server.failures import masked, reply
from models.agents.server.state import Id, Parts, Server, needs
from models.agents.spec import RAILS, PolicySpec
from models.agents.tools.registry import NAMED, resolve

router = APIRouter(prefix="/api", tags=["steering"])

PLACE = "/conversations/{id}"


@router.post(
    f"{PLACE}/approve", status_code=202, response_model=Accepted, dependencies=[needs("approve")]
)
async def approve(server: Parts, id: Id, body: Approve) -> Response:
    """Allow waiting calls to run, with the arguments they have and no others."""
    async with server.registry.use(id) as live:
        await live.conversation.approve(body.call_id, digest=body.digest, by=body.by)
        seq = live.log.state.seq
        return accepted(server, seq, server.runs.start(live) if body.run else None)


@router.post(
    f"{PLACE}/reject", status_code=202, response_model=Accepted, dependencies=[needs("approve")]
)
async def reject(server: Parts, id: Id, body: Reject) -> Response:
    """Refuse waiting calls; the model reads why."""
    async with server.registry.use(id) as live:
        await live.conversation.reject(body.call_id, body.why)
        seq = live.log.state.seq
        return accepted(server, seq, server.runs.start(live) if body.run else None)


@router.post(
    f"{PLACE}/fork", status_code=201, response_model=Details, dependencies=[needs("write")]
)
async def fork(server: Parts, id: Id, body: Fork) -> Response:
    """Make a copy that shares the events up to one, in the same workspace."""
    async with server.registry.use(id) as live:
        name = await server.workers.do(fork_log, live.conversation, body.at, body.id)
        await server.workers.do(server.home.copy_spec, id, name)
    server.registry.lend_secrets(id, name)
    async with server.registry.use(name) as copy:
        return masked(await details(server, copy), copy.secrets, 201)


@router.post(f"{PLACE}/rewind", response_model=Accepted, dependencies=[needs("write")])
async def rewind(server: Parts, id: Id, body: Rewind) -> Response:
    """Go back to an event, also one of an abandoned branch."""
    async with server.registry.use(id) as live:
        event = await live.conversation.rewind(body.seq)
        return reply({"seq": event.seq, "run": None, "boot": server.runs.boot})


@router.post(f"{PLACE}/condense", dependencies=[needs("write")])
async def condense(server: Parts, id: Id) -> dict[str, Any]:
    """Condense what the model sees; says whether there was anything to leave out."""
    async with server.registry.use(id) as live:
        done = await live.conversation.condense()
        return {"condensed": done, "seq": live.log.state.seq}


@router.post(f"{PLACE}/ask", dependencies=[needs("write")])
async def ask(server: Parts, id: Id, body: Question) -> dict[str, Any]:
    """Ask the model something on the side: it sees the history, which does not change."""
    async with server.registry.use(id) as live:
        answer = await live.conversation.ask(body.question)
        return {"answer": answer, "seq": live.log.state.seq}


@router.post(f"{PLACE}/title", dependencies=[needs("write")])
async def title(server: Parts, id: Id, body: NewTitle) -> dict[str, Any]:
    """Name the conversation."""
    async with server.registry.use(id) as live:
        await live.conversation.set_title(body.title)
        return {"title": live.log.state.title, "seq": live.log.state.seq}


@router.post(f"{PLACE}/policy", dependencies=[needs("admin")])
async def policy(server: Parts, id: Id, body: PolicySpec) -> dict[str, Any]:
    """Change which calls wait; those that wait already go on waiting."""
    async with server.registry.use(id) as live:
        await live.conversation.set_policy(body.build())
        return {"policy": live.conversation.policy.to_dict(), "seq": live.log.state.seq}


@router.post(f"{PLACE}/secrets", dependencies=[needs("admin")])
async def secrets(server: Parts, id: Id, body: NewSecrets) -> dict[str, Any]:
    """Add secrets or replace their values; they are kept in memory only."""
    async with server.registry.use(id) as live:
        await live.conversation.update_secrets(body.values)
        return {"names": live.secrets.names, "seq": live.log.state.seq}


@router.post("/tokens", status_code=201, dependencies=[needs("admin")])
async def token(server: Parts, body: NewToken) -> dict[str, Any]:
    """Sign a token for one conversation, or for all."""
    until = time.time() + body.ttl_s
    signed = server.keeper.token(body.conversation, body.scopes, until)
    return {"token": signed, "until": until}


@router.get("/tools", response_model=list[ToolInfo], dependencies=[needs("read")])
async def tools(server: Parts) -> Response:
    """List the tools that agents may be given here."""
    return reply(await server.workers.do(_tools, server))


@router.get("/offers", response_model=Offers, dependencies=[needs("read")])
async def offers(server: Parts) -> dict[str, list[str]]:
    """Say what agents may be made of here."""
    config = server.config
    return {
        "models": [*config.models],
        "analyzers": [RAILS, *config.analyzers],
        "mcp": [*config.mcp],
        "isolations": ["sandbox", *(["local"] if config.allow_local else [])],
        "roots": [str(root) for root in config.roots],
    }


def _tools(server: Server) -> list[dict[str, Any]]:
    found = []
    for name in (*NAMED, *server.config.tools):
        tool = resolve(name)
        found.append(
            {
                "name": name,
                "description": tool.spec.description,
                "parameters": tool.spec.parameters,
                "read_only": tool.read_only,
                "idempotent": tool.idempotent,
                "destructive": tool.destructive,
            }
        )
    return found

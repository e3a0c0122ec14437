"""Routes: begin, list, look at, delete; speak, run, stop."""

from __future__ import annotations

import secrets as random
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response

from models.agents.errors import AtCapacityError, LogError
from models.agents.events import Intent
from models.agents.events.types import Phase
from models.agents.security.secrets import Secrets
from models.agents.server.bodies import Accepted, Details, Listing, NewConversation, NewMessage
from models.agents.server.failures import masked, reply
from models.agents.server.listing import Asked, Order, row_of
from models.agents.server.live import Live
from models.agents.server.state import Id, Parts, Server, needs
from models.agents.spec import AgentSpec
from models.agents.store.base import Log, check_id, owner_of

router = APIRouter(prefix="/api/conversations", tags=["conversations"])


@router.post("", status_code=201, response_model=Details, dependencies=[needs("admin")])
async def create(server: Parts, body: NewConversation) -> Response:
    """Begin a conversation; nothing runs yet."""
    name = body.id or random.token_hex(8)
    Secrets(body.secrets)  # refuses what cannot be kept before anything is made
    await begin(server, name, server.config.check(body.agent))
    async with server.registry.use(name) as live:
        # Before the first event, which may quote them.
        live.secrets.update(body.secrets)
        await live.conversation.begin()
        if body.title:
            await live.conversation.set_title(body.title)
        return masked(await details(server, live), live.secrets, 201)


async def begin(server: Server, name: str, spec: AgentSpec) -> None:
    """Keep the spec of a new conversation and make its log.

    Raises:
        LogError: There is one of this name, or it is that of a part of one.
    """
    if name in server.beginning or server.home.store.exists(name):
        raise LogError(f"there is a conversation '{name}' already; leave `id` out for a new one")
    if above := owner_of(server.home.store, check_id(name)):
        raise LogError(f"'{name}' would name a part of conversation '{above}'; give another id")
    server.beginning.add(name)
    try:
        await server.workers.do(server.home.keep, name, spec)
        await server.workers.do(_made, server, name)
    finally:
        server.beginning.discard(name)


def _made(server: Server, name: str) -> None:
    """Make the log, so that opening it again finds it."""
    server.home.store.open(name).close()


@router.get("", response_model=Listing, dependencies=[needs("read")])
async def list_(
    server: Parts,
    q: Annotated[str, Query(max_length=500, description="Part of a title or id.")] = "",
    phase: Annotated[Phase | Literal[""], Query(description="Only those in this phase.")] = "",
    parent: Annotated[str, Query(description="Those that one delegated to; `*`: all.")] = "",
    order: Annotated[Order, Query(description="Newest, or last changed first.")] = "created",
    cursor: Annotated[str, Query(max_length=600, description="`next` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=2_000)] = 50,
) -> Response:
    """List conversations; pages in order of creation stay put while others write."""
    asked = Asked(q, phase, None if parent == "*" else parent, order, cursor, limit)
    page = await server.lister.page(asked)
    rows = [
        row_of(row, server.runs.is_running(row.id), server.registry.mask(row.id, row.title))
        for row in page.rows
    ]
    return reply({"conversations": rows, "total": page.total, "next": page.next})


@router.get("/{id}", response_model=Details, dependencies=[needs("read")])
async def get(server: Parts, id: Id) -> Response:
    """Return where a conversation stands: phase, cost, waiting calls, plan."""
    async with server.registry.use(id) as live:
        await server.workers.do(live.log.refresh)
        return masked(await details(server, live), live.secrets)


async def details(server: Server, live: Live) -> dict[str, Any]:
    """Return all that is known of a conversation."""
    state, opened = live.log.state, live.opened
    calls = await server.workers.do(_open_calls, live.log) if state.calls else []
    return {
        "id": live.id,
        "title": state.title,
        **server.runs.status(live),
        "unpriced_calls": state.unpriced_calls,
        "prompt_tokens": state.prompt_tokens,
        "cached_tokens": state.cached_tokens,
        "completion_tokens": state.completion_tokens,
        "created": state.created,
        "updated": state.updated,
        "parent": state.parent_conversation,
        "final": state.final if state.phase == "finished" else "",
        "value": state.value if state.phase == "finished" else None,
        "plan": state.plan,
        "open_calls": calls,
        "policy": opened.policy.to_dict() if opened else state.policy,
        "agent": live.spec.model_dump(mode="json") if live.spec else None,
        "budget_left": opened.purse.remaining() if opened else {},
        "secrets": live.secrets.names,
        "problem": live.problem,
    }


def _open_calls(log: Log) -> list[dict[str, Any]]:
    found = []
    for call in log.state.open_calls():
        intent = log.spans([(call.seq, call.seq)])[0].body
        assert isinstance(intent, Intent)
        found.append(
            {
                "call_id": call.call_id,
                "seq": call.seq,
                "name": call.name,
                "arguments": intent.arguments,
                "digest": call.digest,
                "waits": call.waits,
                "approved": bool(call.approved),
                "risk": intent.risk,
                "reasons": intent.reasons,
            }
        )
    return found


@router.delete("/{id}", status_code=204, dependencies=[needs("admin")])
async def delete(server: Parts, id: Id) -> Response:
    """End a conversation for ever, with those it delegated to; files of its workspace stay."""
    await server.workers.do(server.home.must_exist, id)
    await server.runs.stop(id, "the conversation was deleted")
    await server.registry.delete(id)
    return Response(status_code=204)


@router.post(
    "/{id}/messages", status_code=202, response_model=Accepted, dependencies=[needs("write")]
)
async def say(server: Parts, id: Id, body: NewMessage) -> Response:
    """Say something. At capacity the answer is 429, and the message is kept all the same."""
    async with server.registry.use(id) as live:
        event = await live.conversation.post(body.text)
        try:
            run = server.runs.start(live) if body.run else None
        except AtCapacityError as error:
            raise AtCapacityError(str(error), event.seq) from None
        return accepted(server, event.seq, run)


@router.post("/{id}/run", status_code=202, response_model=Accepted, dependencies=[needs("write")])
async def run(server: Parts, id: Id) -> Response:
    """Go on from where the log stands."""
    async with server.registry.use(id) as live:
        return accepted(server, live.log.state.seq, server.runs.start(live))


@router.post("/{id}/pause", status_code=202, response_model=Accepted, dependencies=[needs("write")])
async def pause(server: Parts, id: Id) -> Response:
    """Stop a run before its next model call; calls that run come to their end."""
    async with server.registry.use(id) as live:
        await server.runs.begun(live)
        live.conversation.pause()
        return accepted(server, live.log.state.seq, None)


@router.post(
    "/{id}/interrupt", status_code=202, response_model=Accepted, dependencies=[needs("write")]
)
async def interrupt(server: Parts, id: Id) -> Response:
    """Stop a run now: the model's call is dropped, tools are killed with all their processes."""
    async with server.registry.use(id) as live:
        await server.runs.begun(live)
        live.conversation.interrupt()
        return accepted(server, live.log.state.seq, None)


def accepted(server: Server, seq: int, run: int | None) -> Response:
    """Answer that something was written down."""
    return reply({"seq": seq, "run": run, "boot": server.runs.boot}, 202)

"""Routes: the events of a conversation in pages, and as a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from models.agents.events.types import BODIES
from models.agents.server.bodies import MOST_SEQ, Events
from models.agents.server.state import Id, Parts, Server, needs
from models.agents.store.jsonl import export_lines
from models.errors import unknown_name

router = APIRouter(prefix="/api/conversations/{id}", tags=["events"])

_BLOCK_BYTES = 262_144


@router.get("/events", response_model=Events, dependencies=[needs("read")])
async def events(
    server: Parts,
    id: Id,
    after: Annotated[int, Query(ge=0, le=MOST_SEQ, description="Only later ones.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 200,
    kind: Annotated[list[str] | None, Query(description="Only these kinds; repeatable.")] = None,
) -> Response:
    """Read events of all branches in order."""
    for name in kind or ():
        if name not in BODIES:
            raise unknown_name("kind of event", name, BODIES)
    async with server.registry.use(id) as live:
        await server.workers.do(live.log.refresh)
        page = await server.workers.do(live.log.records, after, limit, kind or ())
        head = live.log.state.seq
        gate = live.secrets.gate
    last = page[-1].seq if len(page) == limit else head
    # What became a secret after it was said is stored as it was said.
    lines = b",".join(record._replace(body=gate(record.body)).wire for record in page)
    text = b'{"events":[%s],"next":%d,"head":%d}' % (lines, max(last, after), head)
    return Response(text, media_type="application/json")


@router.get("/export", response_class=StreamingResponse, dependencies=[needs("read")])
async def export(server: Parts, id: Id) -> StreamingResponse:
    """Write the log as JSON lines with its hash chain: the same bytes each time."""
    await server.workers.do(_check, server, id)
    return StreamingResponse(
        _exported(server, id),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="{id}.jsonl"'},
    )


def _check(server: Server, name: str) -> None:
    """Find damage while a status can still say so."""
    server.home.must_exist(name)
    log = server.home.store.open(name)
    try:
        if damage := log.damage or log.verify():
            raise damage.error(name)
    finally:
        log.close()


def _exported(server: Server, name: str) -> Iterator[bytes]:
    # A log of its own: a long read holds up nobody's commits.
    log = server.home.store.open(name)
    try:
        yield from _blocks(export_lines(log))
    finally:
        log.close()


def _blocks(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Put lines together: each block is a turn of a thread."""
    block: list[bytes] = []
    size = 0
    for line in lines:
        block.append(line)
        size += len(line)
        if size >= _BLOCK_BYTES:
            yield b"".join(block)
            block, size = [], 0
    yield b"".join(block)

"""Routes: files of the workspace, and no others."""

from __future__ import annotations

import codecs
import stat
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Annotated, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from models.agents.security.secrets import Secrets
from models.agents.server.bodies import Entry, Folder
from models.agents.server.failures import masked, reply
from models.agents.server.state import Id, Parts, Server, needs
from models.sandbox.files import TooLargeError

router = APIRouter(prefix="/api/conversations/{id}/files", tags=["files"])

PIECE_BYTES = 262_144
_MEMORY_BYTES = 1024**2

FilePath = Annotated[str, Path(description="Relative to the workspace.")]

# What an agent wrote must never run as a page of ours.
_HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cache-Control": "no-store",
}


@router.get("/{path:path}", response_model=Folder, dependencies=[needs("read")])
async def read(
    server: Parts,
    id: Id,
    path: FilePath,
    depth: Annotated[int, Query(ge=1, le=8, description="Levels of a folder.")] = 1,
    hidden: Annotated[bool, Query(description="Also names that begin with a dot.")] = True,
) -> Response:
    """Return a file's bytes, or what lies in a folder."""
    async with server.registry.use(id) as live:
        files = live.files
        found = await server.workers.do(files.stat, path or ".")
        if stat.S_ISDIR(found.st_mode):
            entries = await server.workers.do(lambda: files.list(path or ".", depth, hidden=hidden))
            listed = {"path": path, "entries": [vars(entry) for entry in entries]}
            return masked(listed, live.secrets)
        file = await server.workers.do(files.reader, path)
        headers = {
            **_HARMLESS,
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.split('/')[-1])}",
        }
        if not live.secrets.names:
            headers["Content-Length"] = str(found.st_size)
        pieces = _pieces(server, file, live.secrets, found.st_size)
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


async def _pieces(
    server: Server, file: BinaryIO, secrets: Secrets, size: int
) -> AsyncIterator[bytes]:
    """Read a file piece by piece, without the conversation's secrets."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    mask = secrets.stream() if secrets.names else None
    try:
        # Not further than it was when the answer began: its length was told.
        while size > 0:
            piece = await server.workers.do(file.read, min(PIECE_BYTES, size))
            if not piece:
                break
            size -= len(piece)
            if mask is not None:
                piece = mask.feed(decoder.decode(piece)).encode("utf-8", "surrogateescape")
            yield piece
        if mask is not None:
            rest = mask.feed(decoder.decode(b"", final=True)) + mask.end()
            yield rest.encode("utf-8", "surrogateescape")
    finally:
        file.close()


@router.put("/{path:path}", response_model=Entry, dependencies=[needs("write")])
async def write(server: Parts, id: Id, path: FilePath, request: Request) -> Response:
    """Write the body of the request to a file, in one step; folders on the way are made."""
    async with server.registry.use(id) as live:
        # Beside the workspace first: what is cut off half way leaves nothing there.
        with tempfile.SpooledTemporaryFile(_MEMORY_BYTES, dir=str(server.config.home)) as spool:
            size = await _received(server, request, spool)
            spool.seek(0)
            await server.workers.do(live.files.write, path, spool)
        return reply({"path": path, "kind": "file", "size": size}, 200)


async def _received(server: Server, request: Request, spool: IO[bytes]) -> int:
    most, size = server.config.upload_bytes, 0
    waiting = bytearray()
    async for piece in request.stream():
        size += len(piece)
        if size > most:
            raise TooLargeError(f"the file is larger than {most:,} bytes, the most that is taken")
        waiting += piece
        if len(waiting) >= PIECE_BYTES:
            await server.workers.do(spool.write, bytes(waiting))
            waiting.clear()
    await server.workers.do(spool.write, bytes(waiting))
    return size

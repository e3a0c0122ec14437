"""One live connection to a server. All of it happens on the loop of `background.py`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mcp_types
from mcp import MCPError
from mcp.client import Client, ClientRequestContext
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from models.agents.mcp.spec import McpServer
from models.agents.mcp.stdio import ServerProcess
from models.agents.mcp.values import Resolved
from models.agents.mcp.web import http_streams, sse_streams
from models.errors import ServiceError

if TYPE_CHECKING:
    from mcp.client._transport import Transport

_MOST_PAGES = 50
_CLOSING_S = 6.0
_PROBE_S = 5.0


class Connection:
    """Connected from `open` to `close`, or until the server goes.

    Args:
        server: Whom to talk to.
        resolved: With its secrets filled in.
        root: Folder of the workspace, which the server is told of.
    """

    def __init__(self, server: McpServer, resolved: Resolved, root: Path) -> None:
        self.resolved = resolved
        self.changed = True
        """Whether its list of tools may be another than was last read."""
        self.is_suspect = False
        """Whether something went wrong that it may not have survived."""
        self._server, self._root = server, root
        self._process: ServerProcess | None = None
        self._client: Client | None = None
        self._failure = ""
        self._task: asyncio.Task[None] | None = None
        self._ready, self._stop = asyncio.Event(), asyncio.Event()

    @property
    def is_lost(self) -> bool:
        """Whether the other side is gone."""
        gone = self._process is not None and bool(self._process.end)
        return gone or self._task is None or self._task.done()

    def why(self) -> str:
        """Say what became of it."""
        process = self._process
        told = (process.end if process else "") or self._failure or "the connection was lost"
        if process and process.last_words:
            told += f"; the end of its standard error: {process.last_words}"
        return told

    async def open(self) -> None:
        """Connect and agree on a protocol.

        Raises:
            ServiceError: That failed, or took too long.
        """
        self._task = asyncio.create_task(self._live())
        waiting = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait(
                [waiting, self._task],
                timeout=self._server.start_timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
            if not self._ready.is_set():
                if not self._task.done():
                    limit = f"{self._server.start_timeout_s:g} s"
                    self._failure = f"it did not answer within {limit} (`start_timeout_s`)"
                await asyncio.shield(self.close())
        if not self._ready.is_set():
            raise ServiceError(self.why())

    async def _live(self) -> None:
        try:
            async with self._connected() as client:
                self._client = client
                heard = asyncio.Event()
                watching = asyncio.create_task(self._watch(client, heard))
                # Before the first list is read, so that no change falls between the two.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(heard.wait(), _PROBE_S)
                self._ready.set()
                try:
                    await self._stop.wait()
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
        except Exception as error:
            self._failure = self._failure or _reason(error)

    def _connected(self) -> Client:
        return Client(
            self._transport(),
            cache=None,
            read_timeout_seconds=self._server.timeout_s,
            list_roots_callback=self._roots,
            message_handler=self._hear,
            client_info=mcp_types.Implementation(name="loomworks", version="1"),
        )

    def _transport(self) -> Transport:
        server, resolved = self._server, self.resolved
        if server.kind == "stdio":
            folder = self._root / server.cwd
            self._process = ServerProcess(server.command, resolved.args, resolved.env, folder)
            return self._process.streams()
        if server.kind == "sse":
            return sse_streams(server.url, resolved.headers)
        return http_streams(server.url, resolved.headers, server.timeout_s)

    async def _roots(self, context: ClientRequestContext) -> mcp_types.ListRootsResult:
        root = mcp_types.Root(uri=self._root.as_uri(), name="workspace")
        return mcp_types.ListRootsResult(roots=[root])

    async def _hear(self, message: object) -> None:
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.changed = True

    async def _watch(self, client: Client, heard: asyncio.Event) -> None:
        """Ask for news of the list of tools, which newer servers send only to who asks."""
        try:
            if client.protocol_version in MODERN_PROTOCOL_VERSIONS:
                async with client.listen(tools_list_changed=True) as news:
                    heard.set()
                    async for _ in news:
                        self.changed = True
        except SubscriptionLost:
            self.is_suspect = self.changed = True
        except (MCPError, TimeoutError):
            return  # it has no such news
        finally:
            heard.set()

    async def tools(self) -> list[mcp_types.Tool]:
        """Read its list of tools.

        Raises:
            ServiceError: It did not answer.
        """
        assert self._client is not None
        self.changed = False
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(self._server.start_timeout_s):
                for _ in range(_MOST_PAGES):
                    page = await self._client.list_tools(cursor=cursor)
                    found += page.tools
                    cursor = page.next_cursor
                    if not cursor:
                        break
        except BaseException as error:
            self.changed = self.is_suspect = True
            if not isinstance(error, Exception):
                raise
            raise ServiceError(f"it did not list its tools: {_reason(error)}") from None
        return found

    async def answers(self) -> bool:
        """Whether it still does, after something went wrong."""
        assert self._client is not None
        try:
            async with asyncio.timeout(_PROBE_S):
                await self._client.list_tools()
        except Exception as error:
            self._failure = f"it answers no more: {_reason(error)}"
            return False
        self.is_suspect = False
        return True

    async def call(
        self, tool: str, arguments: dict[str, Any], emit: Callable[[str], None]
    ) -> mcp_types.CallToolResult:
        """Call a tool; what the SDK raises travels."""
        assert self._client is not None

        async def show(progress: float, total: float | None, message: str | None) -> None:
            share = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
            emit(f"{message or tool}: {share}\n")

        result = await self._client.call_tool(
            tool, arguments, self._server.timeout_s, progress_callback=show
        )
        offered = self._client.server_capabilities.tools
        if self._process is None and offered is not None and offered.list_changed:
            # Over HTTP the news comes on a stream of its own, and may be behind this answer.
            self.changed = True
        return result

    async def close(self) -> None:
        """Say goodbye, and end the process of the server."""
        self._stop.set()
        task = self._task
        if task is None:
            return
        if not self._ready.is_set():
            task.cancel()
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            await asyncio.wait_for(task, _CLOSING_S)


def _reason(error: BaseException) -> str:
    """Return the first cause of nested groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return "it took too long"
    return str(error)[:500] or type(error).__name__

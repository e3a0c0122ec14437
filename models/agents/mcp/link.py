"""A server that comes and goes: connected when it is needed, again after it was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.agents.errors import ToolError
from models.agents.mcp.spec import McpServer
from models.agents.mcp.values import resolve
from models.agents.tools.context import SecretSource
from models.errors import ProjectError, ServiceError

if TYPE_CHECKING:
    import mcp_types

    from models.agents.mcp.connection import Connection

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 30.0

_OWN_FAULTS = (-32602, -32601)
"""Error codes by which a server that is well refuses a call: wrong arguments, no such tool."""


class Link:
    """What there is of a server at the moment.

    Args:
        name: Of the server.
        server: Its declaration.
        root: Folder of the workspace.
        secrets: Of the conversation.
    """

    def __init__(self, name: str, server: McpServer, root: Path, secrets: SecretSource) -> None:
        self.name, self.server = name, server
        self.tools: tuple[mcp_types.Tool, ...] = ()
        """What it listed last; kept while it is away, since it is expected back."""
        self.trouble = ""
        """Why it is away; empty: it is not."""
        self._root, self._secrets = root, secrets
        self._connection: Connection | None = None
        self._failures = 0
        self._retry_at = 0.0
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Connect if it is time to, and read the list of tools if it changed; never fails."""
        try:
            await self._ensure()
        except ProjectError as error:
            self.trouble = str(error)

    async def _ensure(self) -> Connection:
        """Return a connection with a known list of tools.

        Raises:
            ProjectError: There is none now; the text says why.
        """
        async with self._lock:
            resolved = resolve(self.name, self.server, self._secrets)
            found = self._connection
            if found is not None and found.resolved != resolved:
                await self._drop()  # a secret was replaced
            elif found is not None and await _is_gone(found):
                await self._lose(found.why())
            if self._connection is None:
                await self._connect()
            connection = self._connection
            assert connection is not None
            if connection.changed:
                try:
                    listed = tuple(await connection.tools())
                except ServiceError as error:
                    why = connection.why() if connection.is_lost else str(error)
                    await self._lose(why)
                    raise ServiceError(why) from None
                if listed != self.tools:
                    self.tools = listed
            self.trouble = ""
            return connection

    async def _connect(self) -> None:
        # Here, because the SDK takes most of a second to import.
        from models.agents.mcp.connection import Connection

        wait_s = self._retry_at - time.monotonic()
        if wait_s > 0:
            raise ServiceError(f"{self.trouble}; it is tried again in {wait_s:.1f} s")
        connection = Connection(
            self.server, resolve(self.name, self.server, self._secrets), self._root
        )
        try:
            await connection.open()
        except ServiceError as error:
            self._note(str(error))
            raise
        self._connection = connection

    def _note(self, why: str) -> None:
        """Say when to try again: at once after a first failure, then later and later."""
        self.trouble = why
        delay_s = _FIRST_DELAY_S * 2 ** (self._failures - 1) if self._failures else 0.0
        self._failures += 1
        self._retry_at = time.monotonic() + min(delay_s, _LONGEST_DELAY_S)

    async def _lose(self, why: str) -> None:
        self._note(why)
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def call(
        self, tool: str, arguments: dict[str, Any], emit: Callable[[str], None]
    ) -> mcp_types.CallToolResult:
        """Call a tool.

        Raises:
            ToolError: It did not come to a result; the text says what is known.
        """
        try:
            connection = await self._ensure()
        except ProjectError as error:
            raise ToolError(
                f"the MCP server '{self.name}' is not there, nothing was done: {error}"
            ) from None
        from mcp import MCPError

        limit_s = self.server.timeout_s
        try:
            async with asyncio.timeout(limit_s):
                result = await connection.call(tool, arguments, emit)
        except asyncio.CancelledError:
            connection.is_suspect = True
            raise
        except TimeoutError:
            connection.is_suspect = True
            raise ToolError(
                f"'{tool}' was given up after {limit_s:g} s (`timeout_s` of the MCP server "
                f"'{self.name}'); nobody knows whether it took effect"
            ) from None
        except MCPError as error:
            if error.code in _OWN_FAULTS:
                raise ToolError(f"the MCP server '{self.name}' refused: {error}") from None
            raise await self._broken(connection, tool, str(error)) from None
        except Exception as error:
            raise await self._broken(connection, tool, str(error)) from None
        self._failures = 0
        return result

    async def _broken(self, connection: Connection, tool: str, told: str) -> ToolError:
        connection.is_suspect = True
        # What the session noticed first may be explained by the end of the process.
        for _ in range(20):
            if connection.is_lost:
                why = connection.why()
                return ToolError(
                    f"the MCP server '{self.name}' was lost while '{tool}' ran ({why}); nobody "
                    "knows whether it took effect; the next call finds it connected again, or why "
                    "not"
                )
            await asyncio.sleep(0.01)
        return ToolError(f"'{tool}' of the MCP server '{self.name}' failed: {told[:2000]}")

    async def close(self) -> None:
        """End the connection, and the process of the server."""
        async with self._lock:
            await self._drop()


async def _is_gone(connection: Connection) -> bool:
    if connection.is_lost:
        return True
    return connection.is_suspect and not await connection.answers()

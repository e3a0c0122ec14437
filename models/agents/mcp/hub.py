"""All servers of one conversation, and the tools that they offer at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from models.agents.background import there
from models.agents.mcp.link import Link
from models.agents.mcp.spec import McpServer
from models.agents.mcp.tool import MOST_TOOLS, McpTool, chosen, tools_of
from models.agents.tools.context import SecretSource


class Hub:
    """Connects to servers on first use, keeps an eye on them, closes them with the conversation.

    Args:
        servers: By name.
        root: Folder of the workspace.
        secrets: Of the conversation.
    """

    def __init__(self, servers: Mapping[str, McpServer], root: Path, secrets: SecretSource) -> None:
        self._links = [Link(name, server, root, secrets) for name, server in servers.items()]
        self._listed: list[object] = []
        self._tools: tuple[McpTool, ...] = ()
        self._away: set[str] = set()
        self._crowded: set[str] = set()
        self.is_begun = False
        """Whether the servers were asked at all."""

    async def refresh(self) -> tuple[McpTool, ...]:
        """Connect to servers that are due, and take over lists that changed; never fails.

        Returns:
            What they offer: the same object as before where nothing changed.
        """
        await there(self._refresh())
        self.is_begun = True
        listed: list[object] = [link.tools for link in self._links]
        # By identity: a list that was not read again is the same object.
        if len(listed) != len(self._listed) or any(
            new is not old for new, old in zip(listed, self._listed, strict=True)
        ):
            self._listed, self._tools = listed, tools_of(self._links)
        return self._tools

    async def _refresh(self) -> None:
        await asyncio.gather(*(link.refresh() for link in self._links))

    def news(self) -> tuple[str, ...]:
        """Say once which server is away, is back, or has too many tools, for the model."""
        told = []
        for link in self._links:
            if link.trouble and link.name not in self._away:
                self._away.add(link.name)
                told.append(
                    f"The MCP server '{link.name}' is away: {link.trouble}. It is tried again."
                )
            elif not link.trouble and link.name in self._away:
                self._away.remove(link.name)
                told.append(f"The MCP server '{link.name}' is back.")
            if link.name not in self._crowded and (many := len(chosen(link))) > MOST_TOOLS:
                self._crowded.add(link.name)
                told.append(
                    f"The MCP server '{link.name}' has {many} tools; you are given the first "
                    f"{MOST_TOOLS}."
                )
        return tuple(told)

    async def aclose(self) -> None:
        """End all connections and the processes of servers."""
        await there(self._close())

    async def _close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links), return_exceptions=True)

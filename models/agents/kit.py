"""The tools of one conversation: its agent's own, and those that MCP servers offer now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.agents.tools.base import Tool
from models.agents.tools.finish import finish, finish_with
from models.agents.tools.registry import Registry

if TYPE_CHECKING:
    from models.agents.agent import Agent
    from models.agents.mcp.hub import Hub
    from models.agents.security.secrets import Secrets
    from models.agents.workspace import Workspace


class Kit:
    """What a conversation's model may call.

    Attributes:
        registry: The tools.
        options: How the model answers, the tools as it sees them included.

    Args:
        agent: Whose tools they are.
        workspace: Where servers are started.
        secrets: What servers may be given.

    Raises:
        ToolDefinitionError: Two tools have one name.
    """

    def __init__(self, agent: Agent, workspace: Workspace, secrets: Secrets) -> None:
        self._agent = agent
        self._servers = _servers(agent, workspace, secrets)
        self._offered: Sequence[Tool] = ()
        self._take(())

    def _take(self, offered: Sequence[Tool]) -> None:
        self.registry = _registry(self._agent, offered)
        self.options = replace(self._agent.options, tools=self.registry.specs)

    @property
    def has_servers(self) -> bool:
        """Whether MCP servers are declared."""
        return self._servers is not None

    async def plug(self, *, tells: bool) -> Sequence[str]:
        """Take over the tools that MCP servers offer now.

        Args:
            tells: Ask for news too; only where no call is open.

        Returns:
            What the model should be told of servers that are away or back.
        """
        if self._servers is None or (self._servers.is_begun and not tells):
            return ()
        offered = await self._servers.refresh()
        if offered is not self._offered:
            self._offered = offered
            own = _registry(self._agent)  # should two have one name, ours stays
            self._take([entry for entry in offered if own.get(entry.name) is None])
        return self._servers.news() if tells else ()

    async def aclose(self) -> None:
        """End the servers that were started."""
        if self._servers is not None:
            await self._servers.aclose()


def _servers(agent: Agent, workspace: Workspace, secrets: Secrets) -> Hub | None:
    if not agent.servers:
        return None
    from models.agents.mcp.hub import Hub

    return Hub(agent.servers, workspace.root, secrets)


def _registry(agent: Agent, offered: Sequence[Tool] = ()) -> Registry:
    from models.agents.context.skills import skill_tool
    from models.agents.tools.delegate import delegate_tool

    tools: list[Any] = [*agent.tool_list, *offered]
    if any(not skill.always for skill in agent.skills):
        tools.append(skill_tool(agent.skills))
    if agent.subagents:
        tools.append(delegate_tool(agent.subagents))
    return Registry(tools, finish_with(agent.structured) if agent.structured else finish)

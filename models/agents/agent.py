"""The agent: a frozen spec that opens conversations."""

from __future__ import annotations

import secrets as random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

from models.agents.budget import Budget
from models.agents.context.condense import Condenser, SummarisingCondenser
from models.agents.context.skills import Skill
from models.agents.critic import Critic
from models.agents.hooks import Hook
from models.agents.security.base import SecurityAnalyzer
from models.agents.security.policy import NeverConfirm, Policy
from models.agents.security.secrets import Secrets
from models.agents.store.base import Store
from models.agents.store.memory import MemoryStore
from models.agents.tools.base import Tool
from models.agents.tools.registry import USUAL
from models.agents.workspace import Elsewhere, SandboxWorkspace, Workspace
from models.errors import ConfigError
from models.llm import LanguageModel, Options

if TYPE_CHECKING:
    from models.agents.conversation import Conversation
    from models.agents.mcp.spec import McpServer
    from models.agents.remote import RemoteConversation
    from models.agents.runs import Outcome

SecretValues: TypeAlias = Mapping[str, str | Callable[[], str]]
"""Secrets by name, or functions that fetch them."""

SYSTEM = (
    "You are a capable agent. Work on the user's task with the tools you are given, step by "
    "step, and check your work. When it is done, or when it cannot be done, call finish and say so."
)


@dataclass(frozen=True)
class Agent:
    """What an agent is: model, tools, rules. Nothing in it changes while it works."""

    model: LanguageModel | str
    """A model, or its address (`openai/gpt-5`, `scripted:FILE`); see `models.llm`."""
    tools: Sequence[Tool | str] | None = None
    """Tools, or names of some; `think` and `finish` are always there. None: the usual ones, a
    terminal, an editor, search and a todo list (`models.agents.tools.registry.USUAL`)."""
    system: str = SYSTEM
    policy: Policy = NeverConfirm()  # noqa: RUF009 - frozen
    """Which calls wait for an approval."""
    analyzer: SecurityAnalyzer | None = None
    """Rates the risk of calls."""
    analyzer_timeout_s: float = 10.0
    """Seconds after which a rating counts as unknown."""
    budget: Budget = Budget()  # noqa: RUF009 - frozen
    condenser: Condenser = SummarisingCondenser()  # noqa: RUF009 - frozen
    structured: type[Any] | None = None
    """What the agent must end with: a pydantic model, a dataclass, any type pydantic knows."""
    options: Options = Options()  # noqa: RUF009 - frozen
    """How the model answers; tools are added."""
    max_steps: int = 200
    """Calls of the model in one run, after which it stops in error."""
    skills: Sequence[Skill] = ()
    memory: Sequence[Path] = ()
    """Further memory files, beside AGENTS.md and MEMORY.md of the workspace."""
    hooks: Sequence[Hook] = ()
    critic: Critic | None = None
    subagents: Mapping[str, Agent] = field(default_factory=dict)
    """Agents to delegate to, by name; there is a tool `delegate` when there are any."""
    mcp: Mapping[str, Any] | str | Path = field(default_factory=dict)
    """Servers of the Model Context Protocol by name (`models.agents.mcp.McpServer` or its fields),
    or the path of a `.mcp.json`; their tools are named `server__tool`."""
    name: str = "agent"
    description: str = ""
    """For agents that may delegate to this one."""

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"max_steps must be at least 1, got {self.max_steps}")
        _ = self.servers  # what is declared wrong is told here

    @cached_property
    def servers(self) -> Mapping[str, McpServer]:
        """The MCP servers by name.

        Raises:
            ConfigError: One is declared wrong.
        """
        if not self.mcp:
            return {}
        from models.agents.mcp.spec import servers_of

        return servers_of(self.mcp)

    @property
    def tool_list(self) -> Sequence[Tool | str]:
        """The tools, the usual ones where none are named."""
        return USUAL if self.tools is None else self.tools

    @overload
    def open(
        self,
        workspace: Workspace | str | Path | None = None,
        store: Store | None = None,
        id: str | None = None,
        *,
        secrets: Secrets | SecretValues | None = None,
    ) -> Conversation: ...

    @overload
    def open(
        self,
        workspace: Elsewhere,
        store: None = None,
        id: str | None = None,
        *,
        secrets: SecretValues | None = None,
    ) -> RemoteConversation: ...

    def open(
        self,
        workspace: Workspace | Elsewhere | str | Path | None = None,
        store: Store | None = None,
        id: str | None = None,
        *,
        secrets: Secrets | SecretValues | None = None,
    ) -> Conversation | RemoteConversation:
        """Open a conversation; one that the store has under this id goes on where it was.

        Args:
            workspace: Where tools work; a path is a `SandboxWorkspace`, None the current folder.
                Only a `LocalWorkspace` lets commands run without walls. One that is given is
                not closed with the conversation. In a `RemoteWorkspace` or `DockerWorkspace` the
                whole conversation runs on a server, which this waits for.
            store: Where the log is kept; None: in memory, for as long as the process lives.
            id: Name of the conversation; None: a new one.
            secrets: What tools may use and nobody may see.
        """
        if isinstance(workspace, Elsewhere):
            if store is not None or isinstance(secrets, Secrets):
                raise ConfigError(
                    f"a server keeps the log of what runs in a {type(workspace).__name__}, and "
                    "takes its secrets as a mapping of names to values; leave `store` out"
                )
            return workspace.converse(self, id, secrets or {})
        from models.agents.conversation import Conversation

        owns_workspace = workspace is None or isinstance(workspace, str | Path)
        if workspace is None or isinstance(workspace, str | Path):
            workspace = SandboxWorkspace(workspace or ".")
        return Conversation(
            self,
            workspace,
            store if store is not None else MemoryStore(),
            id or random.token_hex(8),
            secrets if isinstance(secrets, Secrets) else Secrets(secrets),
            owns_workspace=owns_workspace,
        )

    def run(
        self,
        prompt: str,
        workspace: Workspace | Elsewhere | str | Path | None = None,
        store: Store | None = None,
        id: str | None = None,
    ) -> Outcome:
        """Give a task, wait for its end, and close the conversation; see `open`."""
        from models.llm import blocking

        if isinstance(workspace, Elsewhere):
            opened: Conversation | RemoteConversation = self.open(workspace, None, id)
        else:
            opened = self.open(workspace, store, id)

        async def work() -> Outcome:
            async with opened as conversation:
                return await conversation.send(prompt)

        return blocking.run(work())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that say what the agent is, for its log and for people."""
        return {
            "name": self.name,
            "model": self.model if isinstance(self.model, str) else self.model.name,
            "tools": [entry if isinstance(entry, str) else entry.name for entry in self.tool_list],
            "policy": self.policy.to_dict(),
            "budget": {key: value for key, value in vars(self.budget).items() if value is not None},
            "max_steps": self.max_steps,
            "skills": [skill.name for skill in self.skills],
            "subagents": [*self.subagents],
            "mcp": [*self.servers],
            "structured": self.structured.__name__ if self.structured else "",
        }

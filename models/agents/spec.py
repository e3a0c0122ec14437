"""An agent as data: what a server and a command line keep beside a conversation's log."""

from __future__ import annotations

import importlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.agents.agent import SYSTEM, Agent
from models.agents.budget import Budget
from models.agents.mcp.spec import McpServer
from models.agents.security.base import SecurityAnalyzer
from models.agents.security.policy import (
    AlwaysConfirm,
    ConfirmAlarms,
    ConfirmRisky,
    NeverConfirm,
    Policy,
)
from models.agents.security.shell import ShellRails
from models.agents.tools.base import Tool
from models.agents.tools.browser.options import BrowserOptions
from models.agents.tools.registry import USUAL, Registry, resolve
from models.agents.workspace import LocalWorkspace, SandboxWorkspace, Workspace
from models.config import Config
from models.errors import ConfigError
from models.settings import get_settings

RAILS = "rails"
"""The analyzer that is shipped: what the setting `LOOM_AGENTS_RAILS` names."""

_RAILS_SETTING = "setting LOOM_AGENTS_RAILS"

PolicyKind = Literal["never", "alarms", "risky", "always"]


class PolicySpec(Config):
    """Which calls wait for an approval."""

    kind: PolicyKind = "never"
    """never: nothing waits; alarms: calls that the analyzer rates at or above the threshold; risky:
    these, and calls that nobody has an opinion of, by what their tool declares; always: all."""
    threshold: Literal["low", "medium", "high"] = "high"
    """For `alarms` and `risky`: the lowest risk that waits."""
    unknown: bool = True
    """For `alarms` and `risky`: whether calls wait that nobody could rate."""

    def build(self) -> Policy:
        """Make the policy."""
        match self.kind:
            case "never":
                return NeverConfirm()
            case "always":
                return AlwaysConfirm()
            case "alarms":
                return ConfirmAlarms(self.threshold, self.unknown)
            case "risky":
                return ConfirmRisky(self.threshold, self.unknown)


class BudgetSpec(Config):
    """Hard limits of a conversation, checked before each call of a model."""

    usd: float | None = Field(None, ge=0)
    """US dollars; needs a model with a known price."""
    tokens: int | None = Field(None, ge=0)
    """Tokens of prompts and replies."""
    steps: int | None = Field(None, ge=0)
    """Calls of the agent's model."""
    seconds: float | None = Field(None, ge=0)
    """Wall time in seconds, counted from each opening of the conversation."""


class AgentSpec(Config):
    """All that it takes to open a conversation again: agent and workspace as plain values."""

    model: str = Field(min_length=1)
    """Address of the model: `openai/gpt-5`, `http://HOST/v1#NAME`, `scripted:FILE`."""
    tools: tuple[str, ...] | None = None
    """Names of tools; null: the usual ones (terminal, editor, search, todo)."""
    system: str = SYSTEM
    """What the model is told first."""
    name: str = "agent"
    """The agent's name, for people."""
    policy: PolicySpec = PolicySpec()
    """Which calls wait for an approval."""
    analyzer: str = RAILS
    """Rates the risk of calls: `rails` is what the setting LOOM_AGENTS_RAILS names, which asks who
    wanted the call, looks for credentials and follows shell commands without running them;
    `module:attribute` is an object or a factory; empty: none does, and what a tool declares of
    itself counts."""
    mcp: dict[str, McpServer | None] = Field(default_factory=dict)
    """MCP servers by name; null: the one that a server of ours was started with (`--mcp`)."""
    browser: BrowserOptions = BrowserOptions()
    """For tools named `browser_…`: where they may go."""
    budget: BudgetSpec = BudgetSpec()
    """Hard limits."""
    max_steps: int = Field(200, ge=1)
    """Calls of the model in one run, after which it stops in error."""
    workspace: str = ""
    """Folder that the tools work in; empty: one of its own beside the log."""
    isolation: Literal["sandbox", "local"] = "sandbox"
    """sandbox: commands run behind walls, without network; local: with all rights of the user."""

    def build(self) -> Agent:
        """Make the agent, with its model by address; nothing is called.

        Raises:
            UnknownNameError: A tool or the analyzer does not exist.
        """
        tools = self._tools()
        Registry(tools)
        unknown = [name for name, server in self.mcp.items() if server is None]
        if unknown:
            raise ConfigError(
                f"mcp: nothing says what '{unknown[0]}' is; give its command or url, or begin the "
                "conversation on a server that was started with --mcp"
            )
        return Agent(
            self.model,
            tools,
            self.system,
            policy=self.policy.build(),
            analyzer=analyzer_of(self.analyzer),
            budget=Budget(**self.budget.model_dump()),
            max_steps=self.max_steps,
            mcp=self.mcp,
            name=self.name,
        )

    @classmethod
    def of(cls, agent: Agent) -> AgentSpec:
        """Return an agent as data, for a server that runs it.

        Raises:
            ConfigError: It holds something that is no plain value: a model, a hook, a skill.
        """
        if not isinstance(agent.model, str):
            raise _stays("model", "name it by its address: openai/gpt-5, http://HOST/v1#NAME")
        usual = Agent(agent.model)
        for part in fields(agent):
            if part.name not in _CARRIED and getattr(agent, part.name) != getattr(usual, part.name):
                raise _stays(part.name, "leave it out, or run the agent here")
        return cls(
            model=agent.model,
            tools=None if agent.tools is None else tuple(map(_tool_name, agent.tools)),
            system=agent.system,
            name=agent.name,
            policy=_policy_of(agent.policy),
            analyzer=_analyzer_name(agent.analyzer),
            mcp={**agent.servers},
            budget=BudgetSpec(**vars(agent.budget)),
            max_steps=agent.max_steps,
        )

    def _tools(self) -> tuple[Tool | str, ...]:
        names = USUAL if self.tools is None else self.tools
        if self.browser == BrowserOptions() or not any(_is_of_browser(name) for name in names):
            return tuple(names)
        from models.agents.tools.browser import browser_tools

        own = {tool.name: tool for tool in browser_tools(self.browser)}
        return tuple(own.get(name, name) for name in names)

    def place(self) -> Workspace:
        """Make the workspace; its folder is made when it is not there."""
        kind = LocalWorkspace if self.isolation == "local" else SandboxWorkspace
        return kind(Path(self.workspace))


_CARRIED = {
    *("model", "tools", "system", "name", "policy", "analyzer", "mcp", "budget", "max_steps"),
    "description",
}


def _stays(part: str, way_out: str) -> ConfigError:
    return ConfigError(f"`{part}` of this agent does not travel to a server; {way_out}")


def _tool_name(tool: Tool | str) -> str:
    if isinstance(tool, str):
        return tool
    dotted = f"{tool.function.__module__}:{getattr(tool.function, '__name__', '')}"
    for name in (tool.name, dotted):
        try:
            if resolve(name) is tool:
                return name
        except ConfigError:
            continue
    raise _stays("tools", f"'{tool.name}' is found by no name there; define it in a module")


def _policy_of(policy: Policy) -> PolicySpec:
    if type(policy) not in (NeverConfirm, ConfirmAlarms, ConfirmRisky, AlwaysConfirm):
        raise _stays("policy", "use NeverConfirm, ConfirmAlarms, ConfirmRisky or AlwaysConfirm")
    return PolicySpec(**policy.to_dict())


def _analyzer_name(analyzer: SecurityAnalyzer | None) -> str:
    if analyzer is None:
        return ""
    kind = type(analyzer)
    if analyzer == analyzer_of(RAILS):
        return RAILS
    if kind is ShellRails and vars(analyzer) == vars(ShellRails()):
        return RAILS
    if getattr(analyzer, "__dict__", None):
        raise _stays("analyzer", "it was made of values; use ShellRails(), or a class without any")
    return f"{kind.__module__}:{kind.__qualname__}"


def _is_of_browser(name: str) -> bool:
    return name.startswith("browser_")


def analyzer_of(name: str) -> SecurityAnalyzer | None:
    """Return the analyzer of a name as `AgentSpec.analyzer` has it; None: the name is empty.

    Raises:
        ConfigError: There is none.
    """
    if name == RAILS:
        return _loaded(get_settings().agents_rails, _RAILS_SETTING)
    return _loaded(name) if name else None


def _loaded(dotted: str, what: str = "analyzer") -> SecurityAnalyzer:
    module, _, attribute = dotted.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), attribute)
        made = found() if isinstance(found, type) or not hasattr(found, "rate") else found
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigError(
            f"{what} '{dotted}' cannot be loaded ({error}); name it as module:attribute"
        ) from None
    if not hasattr(made, "rate"):
        raise ConfigError(f"{what} '{dotted}' makes a {type(made).__name__}, which rates no calls")
    rater: SecurityAnalyzer = made
    return rater

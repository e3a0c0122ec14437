"""An agent as data: what a server and a command line keep beside a conversation's log."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from models.agents.agent import SYSTEM, Agent
from models.agents.budget import Budget
from models.agents.security.policy import AlwaysConfirm, ConfirmRisky, NeverConfirm, Policy
from models.agents.tools.registry import Registry
from models.agents.workspace import LocalWorkspace, SandboxWorkspace, Workspace
from models.config import Config
from models.errors import ConfigError


class PolicySpec(Config):
    """Which calls wait for an approval."""

    kind: Literal["never", "risky", "always"] = "never"
    """never: nothing waits; risky: calls at or above the threshold; always: all."""
    threshold: Literal["low", "medium", "high"] = "high"
    """For `risky`: the lowest risk that waits."""
    unknown: bool = True
    """For `risky`: whether calls wait that nobody could rate."""

    def build(self) -> Policy:
        """Make the policy."""
        match self.kind:
            case "never":
                return NeverConfirm()
            case "always":
                return AlwaysConfirm()
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
    analyzer: str = ""
    """Rates the risk of calls: `module:attribute`, an object or a factory; empty: none does."""
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
        Registry(self.tools or ())
        return Agent(
            self.model,
            self.tools,
            self.system,
            policy=self.policy.build(),
            analyzer=_loaded(self.analyzer) if self.analyzer else None,
            budget=Budget(**self.budget.model_dump()),
            max_steps=self.max_steps,
            name=self.name,
        )

    def place(self) -> Workspace:
        """Make the workspace; its folder is made when it is not there."""
        kind = LocalWorkspace if self.isolation == "local" else SandboxWorkspace
        return kind(Path(self.workspace))


def _loaded(dotted: str) -> Any:
    module, _, attribute = dotted.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"analyzer '{dotted}' cannot be loaded ({error}); name it as module:attribute"
        ) from None
    return found() if isinstance(found, type) or not hasattr(found, "rate") else found

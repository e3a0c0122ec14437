"""Where tools work: a folder, and the sandbox that runs commands and reads files in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from models.agents.agent import Agent
    from models.agents.remote import RemoteConversation
    from models.sandbox.outputs import MakeMask


@runtime_checkable
class Workspace(Protocol):
    """A folder that tools see as their own."""

    @property
    def root(self) -> Path:
        """The folder."""

    @property
    def sandbox(self) -> Any:
        """What runs commands and touches files there (`models.sandbox`), made on first use."""

    def hide(self, make_mask: MakeMask) -> None:
        """Pass what is saved of outputs through a mask (`Secrets.stream`)."""

    def describe(self) -> dict[str, Any]:
        """Return plain JSON values that say which workspace this is: kind, root, limits."""

    def close(self) -> None:
        """Stop what runs in it; files stay."""


@runtime_checkable
class Elsewhere(Protocol):
    """A place where whole conversations run, not only their tools."""

    def converse(
        self, agent: Agent, id: str | None, secrets: Mapping[str, str | Callable[[], str]]
    ) -> RemoteConversation:
        """Begin a conversation there, or take the one that has this id."""

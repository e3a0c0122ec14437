"""Where tools work: a folder, and the sandbox that runs commands and reads files in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Workspace(Protocol):
    """A folder that tools see as their own."""

    @property
    def root(self) -> Path:
        """The folder."""

    @property
    def sandbox(self) -> Any:
        """What runs commands and touches files there (`models.sandbox`), made on first use."""

    def describe(self) -> dict[str, Any]:
        """Return plain JSON values that say which workspace this is: kind, root, limits."""

    def close(self) -> None:
        """Stop what runs in it; files stay."""

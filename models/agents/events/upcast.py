"""Old shapes of events, read for ever.

A body of another version than the first carries it as `v`. A field that is new and has a
default needs nothing here; anything else gets a function from the version before to the next
one, and a fixture with events of the old version goes to `tests/models/agents/fixtures/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from models.agents.errors import LogError

Upcast: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]

VERSIONS: Mapping[str, int] = {}
"""Present version of each kind; 1 where it is not named."""

UPCASTS: Mapping[tuple[str, int], Upcast] = {}
"""From (kind, version) to the next version of that kind."""


def version_of(kind: str) -> int:
    """Return the version in which a kind is written now."""
    return VERSIONS.get(kind, 1)


def upcast(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    """Bring a body's values to the present version of its kind.

    Raises:
        LogError: They are of a later version than this program knows.
    """
    version, present = values.pop("v", 1), version_of(kind)
    if version > present:
        raise LogError(
            f"an event of kind '{kind}' has version {version}, this program reads up to {present}; "
            "open the conversation with the newer program"
        )
    while version < present:
        values = UPCASTS[kind, version](values)
        version += 1
    return values

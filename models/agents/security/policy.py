"""When a call waits for somebody's approval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from models.agents.security.base import LEVELS, Level, Risk
from models.agents.tools.base import Tool

NEVER_ASKED = frozenset({"finish", "think"})
"""Tools of the runtime that do nothing outside of it."""


class Policy(Protocol):
    """Decides whether a call waits."""

    def asks(self, tool: Tool, risk: Risk | None) -> bool:
        """Whether the call waits; `risk` is None where no analyzer is set."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values that say which policy this is."""


@dataclass(frozen=True)
class NeverConfirm:
    """Nothing waits."""

    def asks(self, tool: Tool, risk: Risk | None) -> bool:
        """No."""
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "never"}


@dataclass(frozen=True)
class AlwaysConfirm:
    """Everything waits, except what only talks to the runtime."""

    def asks(self, tool: Tool, risk: Risk | None) -> bool:
        """Yes, but for finish and think."""
        return tool.name not in NEVER_ASKED

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "always"}


@dataclass(frozen=True)
class ConfirmRisky:
    """Calls of a risk at or above a threshold wait."""

    threshold: Level = "high"
    unknown: bool = True
    """Whether calls wait that nobody could rate. Without an analyzer, a tool that is declared
    destructive counts as high, a read-only one as low, any other as unknown."""

    def asks(self, tool: Tool, risk: Risk | None) -> bool:
        """Whether the call is risky enough."""
        if tool.name in NEVER_ASKED:
            return False
        if risk is None:
            level: Level = "high" if tool.destructive else "low" if tool.read_only else "unknown"
        else:
            level = risk.level
        if level == "unknown":
            return self.unknown
        return LEVELS.index(level) >= LEVELS.index(self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "risky", "threshold": self.threshold, "unknown": self.unknown}


@dataclass(frozen=True)
class ConfirmAlarms:
    """Calls wait that an analyzer rates at or above a threshold; what it says nothing of runs."""

    threshold: Level = "high"
    unknown: bool = True
    """Whether calls wait that an analyzer could not rate: it failed, was late, or cannot tell what
    the call does."""

    def asks(self, tool: Tool, risk: Risk | None) -> bool:
        """Whether an analyzer raised an alarm."""
        if risk is None or tool.name in NEVER_ASKED:
            return False
        if risk.level == "unknown":
            return self.unknown
        return LEVELS.index(risk.level) >= LEVELS.index(self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"kind": "alarms", "threshold": self.threshold, "unknown": self.unknown}


def policy_of(values: dict[str, Any]) -> Policy:
    """Make the policy that `to_dict` described; what is not known asks always."""
    match values.get("kind"):
        case "never":
            return NeverConfirm()
        case "alarms":
            return ConfirmAlarms(values["threshold"], values["unknown"])
        case "risky":
            return ConfirmRisky(values["threshold"], values["unknown"])
        case _:
            return AlwaysConfirm()

"""What was found in a command."""

from __future__ import annotations

from dataclasses import dataclass, field

from models.agents.security.base import Level, Risk

_LONGEST = 200


@dataclass(frozen=True)
class Finding:
    """A rule that applies.

    Attributes:
        level: How dangerous.
        rule: Its name.
        why: For people.
        where: The piece of the command.
    """

    level: Level
    rule: str
    why: str
    where: str


@dataclass
class Findings:
    """All of a command."""

    found: list[Finding] = field(default_factory=list)

    def add(self, level: Level, rule: str, why: str, where: str) -> None:
        """Note one, once."""
        finding = Finding(level, rule, why, where[:_LONGEST])
        if finding not in self.found:
            self.found.append(finding)

    def risk(self) -> Risk:
        """Return the highest level with its reasons; what cannot be told outranks medium."""
        for level in ("high", "unknown", "medium"):
            mine = [finding for finding in self.found if finding.level == level]
            if mine:
                reasons = tuple(dict.fromkeys(finding.why for finding in mine))
                rules = [{"rule": f.rule, "where": f.where} for f in mine]
                return Risk(level, reasons, {"rules": rules})
        return Risk("low")

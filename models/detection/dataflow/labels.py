"""Labels of results: how far a source may say what is to be done, and who may see what it tells.

A lattice of integrity (content < third_party < first_party < operator < user) and confidentiality
(public < internal < personal < credential). By default nobody is trusted: an unknown tool is
content. An operator raises labels in a file.
"""

from __future__ import annotations

import fnmatch
import hashlib
import tomllib
from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from models.detection.session import ToolCall
from models.errors import DataError


class Integrity(IntEnum):
    """Whose word a text is."""

    CONTENT = 0
    """Anybody's: a page, a mail, a file. What it asks for is nobody's order."""
    THIRD_PARTY = 1
    """A service of others, as far as it speaks of its own work; its orders are nobody's either."""
    FIRST_PARTY = 2
    """A service of the organisation: what it asks for is no injection, and no order of the user."""
    OPERATOR = 3
    """Who runs the agent: what it asks for may be done."""
    USER = 4


class Confidentiality(IntEnum):
    """Who may see a text."""

    PUBLIC = 0
    INTERNAL = 1
    PERSONAL = 2
    CREDENTIAL = 3


class Label(NamedTuple):
    """A point of the lattice."""

    integrity: Integrity = Integrity.CONTENT
    confidentiality: Confidentiality = Confidentiality.INTERNAL

    def join(self, other: Label) -> Label:
        """Return the label of what was made of both: the less trusted, the more confidential."""
        return Label(
            min(self.integrity, other.integrity), max(self.confidentiality, other.confidentiality)
        )


class Rule(NamedTuple):
    """A label of tools by patterns of their names (`*`, `?`), as in file names."""

    server: str
    tool: str
    label: Label


class Labels:
    """Labels of tools; the first rule that fits counts.

    Args:
        rules: In order.
    """

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self.rules = tuple(rules)
        self._of = lru_cache(maxsize=4_096)(self._find)

    @property
    def confidential(self) -> bool:
        """Whether a rule says that what a tool tells is personal or a credential."""
        return any(one.label.confidentiality >= Confidentiality.PERSONAL for one in self.rules)

    @property
    def digest(self) -> str:
        """SHA-256 of the rules, 12 hexadecimal digits; empty: there are none."""
        if not self.rules:
            return ""
        return hashlib.sha256(repr(self.rules).encode()).hexdigest()[:12]

    def of(self, call: ToolCall | None) -> Label:
        """Return the label of what a call answers; of an answer without a call the lowest."""
        return Label() if call is None else self._of(call.server, call.tool)

    def _find(self, server: str, tool: str) -> Label:
        for rule in self.rules:
            if fnmatch.fnmatchcase(server, rule.server) and fnmatch.fnmatchcase(tool, rule.tool):
                return rule.label
        return Label()


UNLABELLED = Labels()
"""Nobody is trusted."""


def read_labels(file: Path) -> Labels:
    """Read labels: `[[tool]]` tables of server, tool, integrity, confidentiality.

    Raises:
        DataError: The file is none, or names a label that does not exist.
    """
    try:
        told = tomllib.loads(file.read_text(encoding="utf-8"))
        unknown = told.keys() - {"tool"}
        if unknown:
            raise ValueError(f"it has the unknown key `{min(unknown)}`")
        return Labels([_rule(one) for one in told.get("tool", ())])
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} holds no labels ({error}); each [[tool]] has `server` and `tool` (patterns), "
            "and `integrity` or `confidentiality`, see docs/detection.md"
        ) from None


def _rule(one: dict[str, Any]) -> Rule:
    unknown = one.keys() - {"server", "tool", "integrity", "confidentiality"}
    if unknown:
        raise ValueError(f"a tool has the unknown key `{min(unknown)}`")
    lowest = Label()
    return Rule(
        str(one.get("server", "*")), str(one.get("tool", "*")),
        Label(
            _point(Integrity, one.get("integrity", lowest.integrity.name)),
            _point(Confidentiality, one.get("confidentiality", lowest.confidentiality.name)),
        ),
    )  # fmt: skip


def _point(kind: Any, name: Any) -> Any:
    points = {point.name.lower(): point for point in kind}
    try:
        return points[str(name).lower()]
    except KeyError:
        raise ValueError(f"`{name}` is none of {', '.join(points)}") from None

"""Forms of credentials as data."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import re2

from models.detection.secrets.checks import CHECKS, entropy, is_placeholder

FILE = Path(__file__).with_name("rules.toml")


@dataclass(frozen=True)
class Rule:
    """One form.

    Attributes:
        id: Its category.
        provider: Whose credential it is.
        pattern: RE2; a first group, where there is one, is the credential.
        keys: One of them stands in it, or before it.
        entropy: Bits per character that it has at least.
        before, after: Characters around the end of a key that are looked at.
        check: Name of a further test.
    """

    id: str
    provider: str
    pattern: str
    keys: tuple[str, ...]
    entropy: float = 0.0
    before: int = 120
    after: int = 600
    check: str = ""

    @cached_property
    def _compiled(self) -> Any:
        # RE2 takes linear time, whatever a text was made to do.
        return re2.compile(self.pattern)

    def find(self, text: str) -> list[tuple[int, int]]:
        """Return where credentials of this form lie in a text."""
        found = []
        for match in self._compiled.finditer(text):
            first, last = (
                match.span(1) if match.re.groups and match.span(1)[0] >= 0 else match.span()
            )
            if self.holds(text[first:last]):
                found.append((first, last))
        return found

    def holds(self, value: str) -> bool:
        """Whether a value of this form can be a credential, and no example of one."""
        if is_placeholder(value) or entropy(value) < self.entropy:
            return False
        return not self.check or CHECKS[self.check](value)


def read_rules(file: Path = FILE) -> tuple[Rule, ...]:
    """Read the shipped forms."""
    values = tomllib.loads(file.read_text(encoding="utf-8"))
    return tuple(
        Rule(name, **{**entry, "keys": tuple(entry["keys"])}) for name, entry in values.items()
    )


def rules_digest(file: Path = FILE) -> str:
    """Name the forms by their content, for records of what was looked for."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]

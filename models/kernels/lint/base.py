"""The contract of a rule, what it sees, and what a lint of a module says."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

from models.config import Config
from models.kernels.candidate import Mode
from models.kernels.lint.facts import Facts
from models.kernels.lint.inference import infer
from models.kernels.lint.outline import Outline, outline_of
from models.kernels.lint.signature import Signature
from models.kernels.profiles import DeviceProfile

RULES_VERSION = "3"
"""Changes whenever a rule does: reports of different versions are not comparable."""

MOST_VIOLATIONS = 40
"""Violations kept in a report; more teach a proposer nothing."""

Severity = Literal["error", "warning"]


class Violation(Config):
    """One breach of one rule."""

    rule: str
    """Group and number, such as CHT003."""
    severity: Severity
    """An error refuses the module; a warning is shown and counted."""
    line: int
    """Line of the author's text, from 1; 0: the module as a whole."""
    col: int
    """Column, from 1; 0 with line 0."""
    snippet: str
    """The line, cut to 120 characters."""
    message: str
    """What was found."""
    hint: str
    """The way out."""


class LintReport(Config):
    """What the linter says of one module."""

    sha: str
    """Hash of the author's text."""
    rules_version: str
    """Version of the rules."""
    profile: str
    """Device profile whose lists were used."""
    mode: Mode
    """strict or self_consistent."""
    violations: tuple[Violation, ...]
    """By line, then rule; at most 40."""
    left_out: int
    """Violations beyond those."""
    passed: bool
    """No error among all of them."""

    def text(self) -> str:
        """Return the report for people and language models: one paragraph per violation."""
        if not self.violations:
            return f"lint passed ({self.mode}, {self.profile})"
        parts = [
            f"line {one.line}, column {one.col}: {one.rule} {one.severity}: {one.message}\n"
            f"    {one.snippet}\n    {one.hint}"
            for one in self.violations
        ]
        if self.left_out:
            parts.append(f"and {self.left_out} more")
        return "\n".join(parts)

    def packet(self) -> dict[str, Any]:
        """Return the report for a program: rules hit and the first violation of each."""
        firsts: dict[str, dict[str, Any]] = {}
        for one in self.violations:
            firsts.setdefault(one.rule, one.model_dump())
        return {
            "kind": "lint",
            "sha": self.sha,
            "passed": self.passed,
            "rules": sorted(firsts),
            "violations": list(firsts.values()),
        }


@dataclass(frozen=True)
class Context:
    """What a rule may look at beside the tree."""

    source: str
    tree: ast.Module
    profile: DeviceProfile
    mode: Mode
    signature: Signature | None
    depends_on: frozenset[str] = frozenset()
    size_reads: bool = False
    """Whether the family may read a size computed by a kernel: `.item()`."""
    dtypes: frozenset[str] | None = None
    """Element types of the operator; None: not known, so all."""
    lines: Sequence[str] = field(default=())

    @cached_property
    def outline(self) -> Outline:
        """Functions and constants of the module."""
        return outline_of(self.tree)

    @cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All nodes of the module."""
        return tuple(ast.walk(self.tree))

    @cached_property
    def facts(self) -> Facts:
        """Kinds of the expressions of host functions."""
        return infer(self.outline, self.signature)

    def violation(
        self,
        rule: str,
        node: ast.AST | None,
        message: str,
        hint: str,
        severity: Severity = "error",
    ) -> Violation:
        """Build a violation at a node; None: of the module as a whole."""
        line = getattr(node, "lineno", 0)
        text = self.lines[line - 1].strip() if 0 < line <= len(self.lines) else ""
        return Violation(
            rule=rule,
            severity=severity,
            line=line,
            col=getattr(node, "col_offset", -1) + 1,
            snippet=printable(text)[:120],
            message=printable(message)[:400],
            hint=hint,
        )


class Rule(Protocol):
    """A check of a parsed module. Rules are independent: each sees the whole module."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The rules it reports."""
        ...

    def check(self, tree: ast.Module, context: Context) -> list[Violation]:
        """Return every breach in the module."""
        ...


def printable(text: str) -> str:
    """Return text without characters that a terminal or a reader would act on."""
    return "".join(char if char.isprintable() else "?" for char in text)


def ordered(violations: Iterable[Violation]) -> list[Violation]:
    """Return violations by place, without repetition of a rule at a place."""
    seen: set[tuple[int, int, str]] = set()
    kept = []
    for one in sorted(violations, key=lambda v: (v.line, v.col, v.rule, v.message)):
        if (one.line, one.col, one.rule) not in seen:
            seen.add((one.line, one.col, one.rule))
            kept.append(one)
    return kept

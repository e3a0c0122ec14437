"""Programs: what serves the calls of one structure, and the set of them that makes a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from models.kernels.lint.signature import Signature
from models.kernels.synth.calls import Call
from models.kernels.synth.structure import Key

BY_HAND = "by hand"
"""Stands among the rules of a program that begins with a function written for one operator."""


@dataclass
class Program:
    """What serves the calls of one structure key, under guards."""

    key: Key
    guards: tuple[Any, ...]
    symbols: Mapping[Any, str]
    tests: list[str]
    """Host text of the guards."""
    text: str
    """Body of its function, with NAME_i for kernels."""
    kernels: list[str]
    helpers: set[str]
    rules: set[str]
    parameters: list[str]
    accepts: dict[tuple[str, int], frozenset[int]] = field(default_factory=dict)
    """Sizes of 0 and 1 that it serves beyond its key, by path and dimension."""
    is_asked: bool = True
    """A call that was given takes it, not only one that was derived."""
    is_traced: bool = True
    """Off: it was taken over from calls of another type."""
    others: list[Call] = field(default_factory=list)
    """Calls with sizes of 0 and 1 that it does not serve."""
    spread: str = ""
    """broadcast: serves every rank and broadcast; equal: every rank, all shapes equal; empty: the
    ranks of its key."""


@dataclass
class Synthesis:
    """A module being made, and what it could not serve."""

    signature: Signature
    programs: list[Program] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    """Calls without a program, by reason."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Families whose rules wrote the module."""
        return tuple(sorted({rule for one in self.programs for rule in one.rules}))

"""What became of mutants."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from models.config import Config
from models.kernels.mutation.mutants import Mutant

Fate = Literal["killed", "survived", "equivalent"]
"""killed: a sample that the original passes fails. equivalent: a program shows that the change
changes nothing; see `equivalence.py`. survived: neither."""


class JudgedMutant(Config):
    """One mutant and its fate."""

    mutant: Mutant
    fate: Fate
    suite: str = ""
    """Suite that killed it; `lint`, `compile`: no suite did, that stage says what it did not say
    of the original."""
    by: str = ""
    """The failing sample's message, or why it is no mutant, or how a survivor differs."""
    cpu_s: float = 0.0
    """Processor time of its tests, in seconds."""


class MutationReport(Config):
    """Mutants of some modules under some suites."""

    seed: int
    """Seed of the choice."""
    suites: tuple[str, ...]
    """Suites that judged, in order."""
    judged: tuple[JudgedMutant, ...]
    """Every mutant that was made."""
    without_baseline: tuple[str, ...]
    """Operators whose module passes no sample of any suite: they have no mutants."""

    def count(self, fate: Fate) -> int:
        """Return the number of mutants with a fate."""
        return sum(one.fate == fate for one in self.judged)

    @property
    def kill_rate(self) -> float | None:
        """Share of killed mutants among those that are mutants; None: there are none."""
        real = len(self.judged) - self.count("equivalent")
        return self.count("killed") / real if real else None

    @property
    def harness_kill_rate(self) -> float | None:
        """The same by the tests alone; None: there are no mutants."""
        real = len(self.judged) - self.count("equivalent")
        others = sum(self.by_suite.get(stage, 0) for stage in ("lint", "compile"))
        return (self.count("killed") - others) / real if real else None

    @property
    def by_kind(self) -> dict[str, dict[str, int]]:
        """Mutants by kind and fate."""
        counted: dict[str, Counter[str]] = {}
        for one in self.judged:
            counted.setdefault(one.mutant.kind, Counter())[one.fate] += 1
        return {kind: dict(counted[kind]) for kind in sorted(counted)}

    @property
    def by_suite(self) -> dict[str, int]:
        """Killed mutants by the suite that killed them."""
        return dict(Counter(one.suite for one in self.judged if one.fate == "killed"))

    @property
    def survivors(self) -> tuple[JudgedMutant, ...]:
        """Mutants that no test noticed."""
        return tuple(one for one in self.judged if one.fate == "survived")

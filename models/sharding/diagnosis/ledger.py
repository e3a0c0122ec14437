"""What a diagnosis has at hand, and the seconds by kind that it collects."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from models.sharding.constants import Constants
from models.sharding.diagnosis.base import KINDS, Kind
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable
from models.sharding.profile.base import Profile, Trust

COPIES = frozenset({"copy", "relayout", "data formatting"})
"""Categories of ops that only lay data out anew; the last one is the word of XLA for TPUs."""
FEEDS = frozenset({"infeed", "input"})
_EXPERT_WORDS = ("expert", "ragged", "gmm", "moe")
"""What names of products of experts contain: ragged dots, grouped matrix products."""


class Known(NamedTuple):
    """What a diagnosis starts from."""

    profile: Profile
    """Cleaned."""
    model: Profile
    """`analytic_profile` of the same job and layout."""
    job: Job
    layout: Layout
    constants: Constants

    @property
    def micro_steps(self) -> float:
        """Micro-batches of a step."""
        return max(float(LayoutTable.of([self.layout]).micro_steps(self.job)[0]), 1.0)

    def trust(self, name: str) -> Trust:
        """Return how far a field of the profile can be believed."""
        source = self.profile.source
        is_measured = source in ("xprof", "maxtext_log")
        default: Trust = "measured" if is_measured else "compiled"
        return self.profile.trust.get(name, "modelled" if source == "analytic" else default)


@dataclass
class Ledger:
    """Seconds that each kind would save by itself, and how far they can be believed."""

    seconds: dict[Kind, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    trust: dict[Kind, Trust] = field(default_factory=lambda: dict.fromkeys(KINDS, "modelled"))

    def put(self, kind: Kind, seconds: float, trust: Trust | None = None) -> None:
        """Set the seconds of a kind, and the trust where it is told."""
        self.seconds[kind] = seconds
        if trust is not None:
            self.trust[kind] = trust

    def add(self, kind: Kind, seconds: float, trust: Trust) -> None:
        """Add to the seconds of a kind."""
        self.put(kind, self.seconds[kind] + seconds, trust)


def named_s(profile: Profile, words: frozenset[str]) -> float:
    """Return the seconds of top ops of some categories or names."""
    found = (one for one in profile.top_ops if one.category in words or one.name in words)
    return sum(one.seconds or 0.0 for one in found)


def expert_ops(profile: Profile) -> tuple[float, float]:
    """Return seconds and FLOPs of the products of experts among the top ops."""
    found = [
        one
        for one in profile.top_ops
        if any(word in f"{one.category} {one.name}".lower() for word in _EXPERT_WORDS)
    ]
    return sum(one.seconds or 0.0 for one in found), sum(one.flops or 0.0 for one in found)

"""A diagnosis: which limits hold a step up, what each claim rests on, what would help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from models.sharding.profile.base import Evidence, Trust

Kind = Literal[
    "compute", "hbm", "data", "fsdp", "tensor", "context", "expert", "pipeline", "network",
    "bubble", "recompute", "launch", "input", "host", "imbalance", "overlap", "relayout",
    "straggler", "capacity",
]  # fmt: skip
"""What can be taken away from a step: needed products at the rate that they reach; waiting for
memory; transfers over a mesh axis; those of them that leave a pod or an NVLink domain; stages
that wait; products repeated; launches; input of the host; activations that go to the host; the
busiest expert; transfers in sight that could hide; data laid out anew; waiting for the slowest
chip; memory that a faster layout would need."""
KINDS: tuple[Kind, ...] = get_args(Kind)

LIMITS: tuple[Kind, ...] = (
    "compute", "hbm", "data", "fsdp", "tensor", "context", "expert", "pipeline", "network",
    "bubble", "launch", "input", "host",
)  # fmt: skip
"""Kinds that are a resource: the largest of them names what a step is bound by."""

MATERIAL = 0.1
"""Share of a step that a limit other than computing must cost to be named: below it a step whose
products take the rest is bound by computing."""
TIE = 0.75
"""Limits that save this share of the largest saving are named beside it, and computing beside what
is that near to a tenth: measured op times scatter by 20 %."""


def name_kinds(saved: Mapping[Kind, float]) -> list[Kind]:
    """Return the kinds that are named, given the share of the step that each would save.

    Computing takes what is left when everything else is taken away, so it is named where nothing
    else is worth `MATERIAL` of the step, and beside it within a tie of that.

    Args:
        saved: Share of the step by kind.
    """
    others: dict[Kind, float] = {kind: share for kind, share in saved.items() if kind != "compute"}
    top = max(others.values())
    ties: list[Kind] = [k for k, share in others.items() if share >= TIE * max(top, MATERIAL)]
    ties.sort(key=lambda kind: -others[kind])
    if top < MATERIAL:
        return ["compute", *ties]
    return [*ties, "compute"] if top < MATERIAL / TIE else ties


@dataclass(frozen=True)
class Counterfactual:
    """The step again, without one limit."""

    kind: Kind
    step_s: float
    """Seconds that would be left."""
    saved_s: float
    share: float
    """Saved seconds over the step."""
    trust: Trust


@dataclass(frozen=True)
class Bottleneck:
    """A limit that is named."""

    kind: Kind
    share: float
    """Share of the step that taking it away would save; of `compute`: what its products take."""
    confidence: float
    """Chance that it is among what costs the most, in [0, 1]; see confidence.py."""
    evidence: tuple[str, ...]
    moves: tuple[str, ...]
    """Changes of the layout or of the program that address it, the best first."""


@dataclass(frozen=True)
class Diagnosis:
    """What a profile says about its step."""

    limit: Kind
    """The resource that, infinitely fast, would save the most: what the step is bound by."""
    bottlenecks: tuple[Bottleneck, ...]
    """What to take away, the largest saving first; ties stand together. `compute` first where
    nothing else is worth a tenth of the step."""
    counterfactuals: tuple[Counterfactual, ...]
    """All kinds, the largest saving first."""
    evidence: Mapping[str, Evidence]
    warnings: tuple[str, ...]
    """What in the profile contradicts itself, the layout or the cost model."""
    sentences: tuple[str, ...]
    """The diagnosis in words; each number is followed by the id of its evidence in brackets."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Kinds of the bottlenecks."""
        return tuple(one.kind for one in self.bottlenecks)

    @property
    def moves(self) -> tuple[str, ...]:
        """Moves of all bottlenecks, nothing twice."""
        return tuple(dict.fromkeys(move for one in self.bottlenecks for move in one.moves))


def claim(evidence: Evidence) -> str:
    """Put a number with its unit and the id that it resolves to into words."""
    value, unit = evidence.value, evidence.unit
    if unit == "share":
        return f"{100 * value:.1f} % [{evidence.id}]"
    if unit == "s" and abs(value) < 1:
        return f"{1e3 * value:.4g} ms [{evidence.id}]"
    if unit == "bytes":
        return f"{value / 1e9:.4g} GB [{evidence.id}]"
    if unit == "bytes/s":
        return f"{value / 1e9:.4g} GB/s [{evidence.id}]"
    return f"{value:.4g}{' ' + unit if unit and unit != '1' else ''} [{evidence.id}]"


_CITED = re.compile(
    r"(?P<number>-?\d[\d.]*(?:e[+-]?\d+)?)(?P<unit>(?: [A-Za-z%/]+)?) \[(?P<id>[^\[\]]+)\]"
)
_IDS = re.compile(r"\[[^\[\]]*\]")
_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?")


def unresolved_numbers(text: str, evidence: Mapping[str, Evidence]) -> list[str]:
    """Return the numbers of a text that no evidence carries.

    A number resolves where an id in brackets follows it and the evidence of that id, written
    with its unit, is the same number.
    """
    missing = []
    rest = text
    for found in _CITED.finditer(text):
        known = evidence.get(found["id"])
        if known is not None and found[0] == claim(known):
            rest = rest.replace(found[0], " ", 1)
    for found in _NUMBER.finditer(_IDS.sub(" ", rest)):
        missing.append(found[0])
    return missing

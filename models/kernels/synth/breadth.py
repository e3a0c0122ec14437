"""Ranks and types that no call has: calls of them are made of those that were given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from models.kernels.synth.calls import Call, bind
from models.kernels.synth.program import Synthesis
from models.kernels.synth.schedule import Schedule
from models.kernels.synth.structure import Key, Leaf, kind
from models.kernels.synth.twins import Renaming, first_type, retyped
from models.kernels.synth.variants import of_rank

RANKS = (4, 3, 2, 1, 5)
"""Ranks that are tried of operators which are not elementwise, in order of use."""
RANKS_SHARE, RANKS_LEAST = 0.1, 500
TYPES_SHARE, TYPES_LEAST = 0.2, 2000
"""Nodes of graphs to be traced: as a share of those traced before, and what is always allowed. A
node takes a millisecond or two; writing a module should not take much longer for its breadth."""
_FIRST_TYPES = ("float32", "int64", "bfloat16")
"""Types whose ranks come first; float16 mostly takes over what bfloat16 has."""
FURTHER_TYPES: Mapping[str, tuple[str, ...]] = {
    "float64": ("float32",),
    "int8": ("int32", "int64"),
    "int16": ("int32", "int64"),
    "uint8": ("int32", "int64"),
    "bool": ("int32", "int64"),
}
"""Types that no call has, and those whose calls are tried with them."""


class Writer(Protocol):
    """What writes programs for calls."""

    made: Synthesis
    schedule: Schedule
    given: dict[Key, Call]
    """First call of each structure."""
    effort: int
    """Nodes of all graphs traced so far."""

    def derive(self, calls: Iterable[Call]) -> None:
        """Make programs for calls that nobody made but ATen takes, as far as rules serve them."""
        ...

    def take_over(self, pair: Renaming) -> None:
        """Take over all programs of a type for another type that is served alike."""
        ...

    def leaves_of(self, bound: Mapping[str, Any]) -> list[Leaf]:
        """Return the leaves of a call with as much left open as programs leave open at most."""
        ...


def add_ranks(writer: Writer) -> None:
    """Make programs for ranks that no call has, from the widest call of each set of options."""
    widest: dict[Key, tuple[int, Call]] = {}
    for key, call in writer.given.items():
        rank = max((len(part[3]) for part in key if part[1] == "tensor"), default=0)
        asked = kind(key)
        if rank > widest.get(asked, (0, call))[0]:
            widest[asked] = rank, call
    most = writer.effort + max(RANKS_LEAST, int(RANKS_SHARE * writer.effort))
    calls = [widest[key][1] for key in sorted(widest, key=_order)]
    for rank in RANKS:
        for call in calls:
            if writer.effort >= most:
                return
            bound = bind(writer.made.signature, call)
            other = of_rank(call, bound, writer.leaves_of(bound), rank)
            writer.derive([] if other is None else [other])


def _order(key: Key) -> int:
    first = first_type(key)
    return _FIRST_TYPES.index(first) if first in _FIRST_TYPES else len(_FIRST_TYPES)


def add_types(writer: Writer) -> None:
    """Make programs for types that no call has, as far as ATen has them.

    The structures of the given calls are tried; where they show that types are served alike, all
    programs are taken over.
    """
    given = {first_type(key) for key in writer.given}
    most = writer.effort + max(TYPES_LEAST, int(TYPES_SHARE * writer.effort))
    for target, sources in FURTHER_TYPES.items():
        if target in given or (target == "float64" and not writer.schedule.doubles):
            continue
        for pair in [(one, target) for one in sources if one in given]:
            writer.derive(
                retyped(call, writer.made.signature, pair)
                for key, call in writer.given.items()
                if first_type(key) == pair[0] and writer.effort < most
            )
            writer.take_over(pair)

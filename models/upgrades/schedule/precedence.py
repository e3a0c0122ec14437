"""Which types of work must come first on a host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from models.errors import ConfigError

REPAIRS = (
    *("repair-facilities", "repair-network", "repair-hardware", "repair-software"),
    *("repair-human-error", "repair-undetermined", "repair-unknown"),
)
# A type comes after those listed with it: a broken host is repaired before it is upgraded,
# then from the metal up, and verified last. Meta's maintenance verifies before a host
# returns to production (engineering.fb.com, 2024-06-12).
PRECEDENCE: Mapping[str, tuple[str, ...]] = {
    "hardware-maintenance": REPAIRS,
    "os-upgrade": ("hardware-maintenance",),
    "storage-os-upgrade": ("hardware-maintenance",),
    "patch": ("os-upgrade", "storage-os-upgrade"),
    "kernel-parameters": ("patch",),
    "config-files": ("kernel-parameters",),
    "third-party": ("config-files",),
    "verification": ("third-party",),
}


class CyclicPrecedenceError(ConfigError):
    """Types of work that wait for each other in a circle."""


def precedence_ranks(after: Mapping[str, Sequence[str]] = PRECEDENCE) -> Mapping[str, int]:
    """Rank types so that whatever must come first has the lower rank.

    Types of equal rank may run in either order; a type that is not listed has no place in
    the order. Ranks are longest paths, so a chain holds even if its middle is absent.

    Args:
        after: For each type the types that must come before it.

    Raises:
        CyclicPrecedenceError: The order has a cycle.
    """
    try:
        order = list(TopologicalSorter(after).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise CyclicPrecedenceError(
            f"the precedence of types has the cycle {circle}; remove one of these edges"
        ) from None
    ranks: dict[str, int] = {}
    for type_ in order:
        ranks[type_] = max((ranks[first] + 1 for first in after.get(type_, ())), default=0)
    return ranks


def predecessors(after: Mapping[str, Sequence[str]]) -> Mapping[str, frozenset[str]]:
    """For each type all that must come before it, directly or through others.

    Raises:
        CyclicPrecedenceError: The order has a cycle.
    """
    ranks = precedence_ranks(after)
    found: dict[str, frozenset[str]] = {}
    for type_ in sorted(after, key=lambda name: ranks[name]):
        direct = after[type_]
        found[type_] = frozenset(direct).union(*(found.get(first, ()) for first in direct))
    return found

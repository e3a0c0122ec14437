"""Rules by family: each turns one node of a graph into lazy values or launches.

pointwise.py   elementwise primitives        views.py      broadcast, slices, reshapes, joins
creation.py    constants, ranges, copies     reduction.py  sums, extremes, products, arg-extremes
scan.py        running sums and products     indexing.py   gathers by loaded indices
product.py     matrix products               slices.py     diagonals, splits, windows
sorting.py     orders by counting            scatter.py    writes to loaded places, as gathers
window.py      convolutions and pools
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit import (
    creation,
    indexing,
    pointwise,
    product,
    reduction,
    scan,
    scatter,
    slices,
    sorting,
    views,
    window,
)
from models.kernels.synth.scalar import UnsupportedError

FAMILIES: dict[str, dict[str, Callable[..., Any]]] = {
    "pointwise": pointwise.RULES,
    "views": views.RULES,
    "creation": creation.RULES,
    "reduction": reduction.RULES,
    "scan": scan.RULES,
    "indexing": indexing.RULES,
    "product": product.RULES,
    "slices": slices.RULES,
    "sorting": sorting.RULES,
    "scatter": scatter.RULES,
    "window": window.RULES,
}
"""Rules by primitive, by family."""


def find_rule(node: Any) -> tuple[Callable[..., Any], str]:
    """Return the rule of a node's primitive and its family.

    Raises:
        UnsupportedError: No family has one.
    """
    full = str(node.target)
    short = full.rsplit(".", 1)[0]
    for family, rules in FAMILIES.items():
        for name in (full, short):
            if name in rules:
                return rules[name], family
    raise UnsupportedError(f"no rule for {full}")

"""Rules by family: each turns one node of a graph into lazy values or launches.

pointwise.py   elementwise primitives        views.py      broadcast, slices, reshapes
creation.py    constants, ranges, copies     reduction.py  sums, extremes, products, arg-extremes
scan.py        running sums and products     indexing.py   gathers by loaded indices
product.py     matrix products               slices.py     diagonals, splits, windows
joins.py       joins, flips, rolls           sorting.py, order.py  sorts, what stands at a place
cumulative.py  extremes up to a place        scatter.py, writes.py  writes, turned into gathers
selection.py, search.py  sizes that data decide   unique.py  distinct elements
counts.py      counts by value and interval
window.py      pools                         convolution.py  convolutions, distances
resample.py    pixels and channels, filters
linalg/        factors and solutions of matrices
complexes.py   pairs viewed as complex       special.py    special functions of the device library
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit import (
    complexes,
    convolution,
    counts,
    creation,
    cumulative,
    indexing,
    joins,
    linalg,
    pointwise,
    product,
    reduction,
    resample,
    scan,
    scatter,
    selection,
    slices,
    sorting,
    special,
    unique,
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
    "joins": joins.RULES,
    "cumulative": cumulative.RULES,
    "convolution": convolution.RULES,
    "resample": resample.RULES,
    "selection": selection.RULES,
    "unique": unique.RULES,
    "counts": counts.RULES,
    "linalg": linalg.RULES,
    "complexes": complexes.RULES,
    "special": special.RULES,
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

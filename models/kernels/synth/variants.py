"""Calls like a given one with other sizes: what an operator takes too, though nobody called it so.

A trace holds under guards, and a structure key tells sizes of 0 and 1 apart. `relax` changes sizes
that the trace of one program holds equal; here sizes change that are equal in the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from models.kernels.synth.calls import Call, rebuilder
from models.kernels.synth.probes import LARGER, aten_shapes, with_sizes
from models.kernels.synth.structure import Leaf

OTHER_SIZES = (0, 1, 2, 37)
"""Nothing, one, the smallest size that a trace leaves open, and one above those of samples."""
MOST_DISTINCT = 5
"""Distinct sizes of a call that are changed, smallest first."""

Pattern = tuple[tuple[Any, ...], ...]


def pattern(listed: Sequence[Leaf]) -> Pattern:
    """Return what calls have in common whose sizes are equal, 0 or 1 at the same places."""
    order: dict[int, int] = {0: 0, 1: 1}
    parts = []
    for leaf in listed:
        if leaf.kind == "tensor":
            sizes = tuple(order.setdefault(size, len(order)) for size in leaf.value.shape)
            parts.append((leaf.path, str(leaf.value.dtype), *sizes))
        else:
            parts.append(leaf.key)
    return tuple(parts)


def resized(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf]) -> Iterator[Call]:
    """Yield the call with one of its sizes replaced wherever a tensor has it, values zero."""
    tensors = [leaf for leaf in listed if leaf.kind == "tensor"]
    for old in sorted({size for leaf in tensors for size in leaf.value.shape})[:MOST_DISTINCT]:
        paths = {
            f"{leaf.path}.shape[{place}]"
            for leaf in tensors
            for place, size in enumerate(leaf.value.shape)
            if size == old
        }
        for new in OTHER_SIZES:
            if new != old:
                yield with_sizes(call, bound, listed, paths, new)


def of_rank(call: Call, bound: Mapping[str, Any], listed: Sequence[Leaf], rank: int) -> Call | None:
    """Return the call with its widest tensors of another rank, by their first dimensions.

    Dimensions are added or taken away in front, where most operators have their batch; None: no
    tensor has any dimension.
    """
    import torch

    tensors = {leaf.path: leaf.value for leaf in listed if leaf.kind == "tensor"}
    widest = max((one.ndim for one in tensors.values()), default=0)
    if widest == 0:
        return None

    def change(path: str, value: Any) -> Any:
        if path not in tensors or value.ndim < widest:
            return value
        ahead = (LARGER,) * max(rank - widest, 0)
        return torch.zeros((*ahead, *value.shape[max(widest - rank, 0) :]), dtype=value.dtype)

    args, kwargs = rebuilder(call, bound)(change)
    return Call(call.function, tuple(args), kwargs)


def is_accepted(call: Call) -> bool:
    """Whether ATen takes a call."""
    return aten_shapes(call) is not None

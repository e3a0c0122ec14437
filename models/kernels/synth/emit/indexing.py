"""Gathers: the index of the source is itself loaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, product
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of


def loaded_index(low: Lowering, kernel: Kernel, element: Var, size: Size) -> str:
    """Return a loaded index as a place; negative ones count from the end."""
    place = kernel.convert(element, "int64").text
    if kernel.is_place(place):
        return place
    count = kernel.number(low.host.text(size))
    return kernel.let(f"tl.where({place} < 0, {place} + {count}, {place})", "int64").text


def _within(low: Lowering, kernel: Kernel, places: list[tuple[str, Size]]) -> str:
    """Narrow the mask to places inside; return the mask as it was."""
    outer = kernel.mask
    tests = [
        ("" if kernel.is_place(place) else f"({place} >= 0) & ")
        + f"({place} < {kernel.number(low.host.text(size))})"
        for place, size in places
    ]
    kernel.mask = kernel.let(" & ".join([outer, *tests]), "bool").text
    return outer


def _index(low: Lowering, node: Any) -> Value:
    from models.kernels.synth.emit.selection import unmasked

    source, fake = low.value(node.args[0]), node.meta["val"]
    indices = unmasked(low, low.arg(node.args[1]), fake)
    used = [place for place, one in enumerate(indices) if isinstance(one, Value)]
    parts = [indices[place] for place in used]
    width = max((len(one.shape) for one in parts), default=0)
    adjacent = bool(used) and used == list(range(used[0], used[-1] + 1))
    lead = used[0] if adjacent else 0

    def load(kernel: Kernel, index: Index) -> Var:
        middle = index[lead : lead + width]
        rest = iter((*index[:lead], *index[lead + width :]))
        own, checked = [], []
        for dim, size in enumerate(source.shape):
            if dim in used:
                one = indices[dim]
                element = one.at(kernel, broadcast_index(middle, one.shape))
                own.append(loaded_index(low, kernel, element, size))
                checked.append((own[-1], size))
            else:
                own.append(next(rest))
        outer = _within(low, kernel, checked)
        result = source.at(kernel, tuple(own))
        kernel.mask = outer
        return result

    return low.pointwise(sizes_of(fake.shape), dtype_of(fake), load, [source, *parts])


def _gather(low: Lowering, node: Any) -> Value:
    source, index_of, fake = low.value(node.args[0]), low.value(node.args[2]), node.meta["val"]
    rank = len(source.shape)
    dim = low.arg(node.args[1]) % max(rank, 1)

    def load(kernel: Kernel, index: Index) -> Var:
        if rank == 0:
            return source.at(kernel, ())
        place = loaded_index(low, kernel, index_of.at(kernel, index), source.shape[dim])
        outer = _within(low, kernel, [(place, source.shape[dim])])
        result = source.at(kernel, (*index[:dim], place, *index[dim + 1 :]))
        kernel.mask = outer
        return result

    return low.pointwise(sizes_of(fake.shape), dtype_of(fake), load, [source, index_of])


def _index_select(low: Lowering, node: Any) -> Value:
    source, index_of, fake = low.value(node.args[0]), low.value(node.args[2]), node.meta["val"]
    rank = len(source.shape)
    dim = low.arg(node.args[1]) % max(rank, 1)

    def load(kernel: Kernel, index: Index) -> Var:
        if rank == 0:
            return source.at(kernel, ())
        element = index_of.at(kernel, (index[dim],) if index_of.shape else ())
        place = loaded_index(low, kernel, element, source.shape[dim])
        outer = _within(low, kernel, [(place, source.shape[dim])])
        result = source.at(kernel, (*index[:dim], place, *index[dim + 1 :]))
        kernel.mask = outer
        return result

    return low.pointwise(sizes_of(fake.shape), dtype_of(fake), load, [source, index_of])


def _take(low: Lowering, node: Any) -> Value:
    source, index_of, fake = low.value(node.args[0]), low.value(node.args[1]), node.meta["val"]
    count = product(source.shape)
    line = reshaped(low, source, (count,))

    def load(kernel: Kernel, index: Index) -> Var:
        place = loaded_index(low, kernel, index_of.at(kernel, index), count)
        outer = _within(low, kernel, [(place, count)])
        result = line.at(kernel, (place,))
        kernel.mask = outer
        return result

    return low.pointwise(sizes_of(fake.shape), dtype_of(fake), load, [source, index_of])


RULES: dict[str, Callable[..., Any]] = {
    "aten.index": _index,
    "aten._unsafe_index": _index,
    "aten.gather": _gather,
    "aten.index_select": _index_select,
    "aten.take": _take,
}

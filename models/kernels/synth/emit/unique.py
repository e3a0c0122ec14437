"""Distinct elements: sorted or as they come, with inverse and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.order import before, sorted_places
from models.kernels.synth.emit.placing import placed
from models.kernels.synth.emit.reduction import extreme, summed
from models.kernels.synth.emit.search import nth_places, read_last, running_count, unbacked
from models.kernels.synth.emit.selection import differing
from models.kernels.synth.emit.sorting import place_of, taken
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product, split_number
from models.kernels.synth.lower import Lowering, Value


def _begins(low: Lowering, line: Value, differs: Callable[[Kernel, str, str], str]) -> Value:
    """Return where a new element begins in a line of `line.shape[0]` elements."""

    def load(kernel: Kernel, index: Index) -> Var:
        own = place_of(kernel, index[0])
        back = kernel.let(f"tl.where({own} > 0, {own} - 1, 0)", "int64").text
        test = differs(kernel, index[0], back)
        return kernel.let(f"({own} == 0) | {test}", "bool")

    return low.pointwise(line.shape, "bool", load, [line])


def _results(
    low: Lowering, begins: Value, places: Value | None, symbols: list[Any],
    whole: tuple[Size, ...],
) -> tuple[Value, list[Value]]:  # fmt: skip
    """Return where each distinct element begins, then [inverse, counts]."""
    size = begins.shape[0]
    running = running_count(low, begins)
    starts = nth_places(low, running, read_last(low, running, symbols))

    def number(kernel: Kernel, index: Index) -> Var:
        return kernel.let(f"{running.at(kernel, index).text} - 1", "int64")

    numbers = low.pointwise((size,), "int64", number, [running])
    inverse = numbers if places is None else placed(low, places, numbers)

    def count(kernel: Kernel, index: Index) -> Var:
        own = place_of(kernel, index[0])
        total = kernel.number(low.host.text(starts.shape[0]))
        end = kernel.number(low.host.text(size))
        inside = kernel.let(f"{own} + 1 < {total}", "bool").text
        outer = kernel.mask
        kernel.mask = kernel.let(f"{outer} & {inside}", "bool").text
        after = starts.at(kernel, (kernel.let(f"{own} + 1", "int64").text,)).text
        kernel.mask = outer
        first = starts.at(kernel, index).text
        return kernel.let(f"tl.where({inside}, {after}, {end}) - {first}", "int64")

    counts = low.pointwise(starts.shape, "int64", count, [starts])
    return starts, [reshaped(low, inverse, whole), counts]


def _unique(is_sorted: bool) -> Callable[[Lowering, Any], list[Value]]:
    def rule(low: Lowering, node: Any) -> list[Value]:
        source = low.value(node.args[0])
        given = dict(node.kwargs)
        dim = given.get("dim", node.args[3] if not is_sorted and len(node.args) > 3 else None)
        if dim is not None:
            return _slices(low, node, source, dim % len(source.shape), False)
        line = low.stored(reshaped(low, source, (product(source.shape),)))
        places = sorted_places(low, line, 0, False, line.shape[0]) if is_sorted else None
        ordered = line if places is None else low.store(taken(low, line, places, 0))

        def differs(kernel: Kernel, own: str, back: str) -> str:
            at = "0" if is_one(ordered.shape[0]) else back
            return differing(kernel, ordered.at(kernel, (own,)), ordered.at(kernel, (at,)))

        begins = _begins(low, ordered, differs)
        symbols = unbacked(node.meta["val"][0])
        starts, rest = _results(low, begins, places, symbols, source.shape)
        return [taken(low, ordered, starts, 0), *rest]

    return rule


def _unique_dim(low: Lowering, node: Any) -> list[Value]:
    source = low.value(node.args[0])
    return _slices(low, node, source, low.arg(node.args[1]) % len(source.shape), True)


def _slices(low: Lowering, node: Any, source: Value, dim: int, is_sorted: bool) -> list[Value]:
    """Distinct slices along a dimension, in the order of their first differing elements."""
    others = [size for place, size in enumerate(source.shape) if place != dim]
    size, length = source.shape[dim], product(others)
    matrix = low.store(_as_rows(low, source, dim, (size, length)))
    places = _row_order(low, matrix) if is_sorted else None

    def row(kernel: Kernel, place: str) -> str:
        at = "0" if is_one(size) else place
        return at if places is None else places.at(kernel, (at,)).text

    def pair(kernel: Kernel, index: Index) -> Var:
        own = place_of(kernel, index[0])
        back = kernel.let(f"tl.where({own} > 0, {own} - 1, 0)", "int64").text
        x, y = (matrix.at(kernel, (row(kernel, one), index[1])) for one in (index[0], back))
        return kernel.let(f"tl.where({differing(kernel, x, y)}, 1, 0).to(tl.int64)", "int64")

    parts = low.pointwise((size, length), "int64", pair, [matrix])
    gaps = summed(low, parts, [1], (size,), "int64")
    line = low.pointwise((size,), "int64", lambda kernel, index: gaps.at(kernel, index), [gaps])

    def differs(kernel: Kernel, own: str, back: str) -> str:
        return kernel.let(f"{gaps.at(kernel, (own,)).text} != 0", "bool").text

    symbols = unbacked(node.meta["val"][0])
    starts, rest = _results(low, _begins(low, line, differs), places, symbols, (size,))
    shape = (*source.shape[:dim], starts.shape[0], *source.shape[dim + 1 :])

    def load(kernel: Kernel, index: Index) -> Var:
        start = starts.at(kernel, (index[dim],)).text
        return source.at(kernel, (*index[:dim], row(kernel, start), *index[dim + 1 :]))

    return [low.pointwise(shape, source.dtype, load, [source, starts]), *rest]


def _as_rows(low: Lowering, source: Value, dim: int, shape: tuple[Size, ...]) -> Value:
    """Return slices along a dimension as rows of a matrix."""
    others = tuple(size for place, size in enumerate(source.shape) if place != dim)

    def load(kernel: Kernel, index: Index) -> Var:
        rest = split_number(kernel, index[1], others, low.host.text)
        return source.at(kernel, (*rest[:dim], index[0], *rest[dim:]))

    return low.pointwise(shape, source.dtype, load, [source])


def _row_order(low: Lowering, matrix: Value) -> Value:
    """Return the places of rows in lexicographic order, by counting the rows before each."""
    size, length = matrix.shape
    end = low.host.text(length)

    def first(kernel: Kernel, index: Index) -> Var:
        x, y = (matrix.at(kernel, (one, index[2])) for one in index[:2])
        column = place_of(kernel, index[2])
        test = differing(kernel, x, y)
        return kernel.let(f"tl.where({test}, {column}, {kernel.number(end)})", "int64")

    pairs = low.pointwise((size, size, length), "int64", first, [matrix])
    column_of = extreme(low, pairs, [2], (size, size), False)

    def ahead(kernel: Kernel, index: Index) -> Var:
        column = column_of.at(kernel, index).text
        inside = kernel.let(f"{column} < {kernel.number(end)}", "bool").text
        outer = kernel.mask
        kernel.mask = kernel.let(f"{outer} & {inside}", "bool").text
        at = "0" if is_one(length) else column
        x, y = (matrix.at(kernel, (one, at)) for one in index[::-1])
        test, _ = before(kernel, x, y, matrix.dtype, False)
        kernel.mask = outer
        own, other = (place_of(kernel, one) for one in index)
        earlier = f"(({inside} == 0) & ({other} < {own}))"
        return kernel.let(f"tl.where(({inside} & {test}) | {earlier}, 1, 0).to(tl.int64)", "int64")

    counted = low.pointwise((size, size), "int64", ahead, [matrix, column_of])
    ranks = summed(low, counted, [1], (size,), "int64")
    own = low.pointwise((size,), "int64", lambda kernel, index: Var(place_of(kernel, index[0]),
                                                                     "int64"), [])  # fmt: skip
    return placed(low, ranks, own)


RULES: dict[str, Callable[..., Any]] = {
    "aten._unique2": _unique(True),
    "aten.unique_dim": _unique_dim,
    "aten.unique_consecutive": _unique(False),
}

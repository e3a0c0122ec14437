"""Sorts and what stands at a place of a sorted order: largest, k-th, median."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.order import before, sorted_places
from models.kernels.synth.emit.reduction import arg_extreme, summed
from models.kernels.synth.emit.search import first_place
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.promotion import FLOATS


def place_of(kernel: Kernel, place: str) -> str:
    """Return an index as a block of the kernel, also where it is 0 by size."""
    return place if place != "0" else kernel.zero()


def taken(low: Lowering, source: Value, places: Value, dim: int) -> Value:
    """Return the elements at places along a dimension."""

    def load(kernel: Kernel, index: Index) -> Var:
        place = places.at(kernel, index).text
        return source.at(kernel, (*index[:dim], place, *index[dim + 1 :]))

    return low.pointwise(places.shape, source.dtype, load, [source, places])


def _flat(low: Lowering, source: Value) -> Value:
    def load(kernel: Kernel, index: Index) -> Var:
        return source.at(kernel, ())

    return low.pointwise((1,), source.dtype, load, [source])


def _scalar(low: Lowering, value: Value) -> Value:
    def load(kernel: Kernel, index: Index) -> Var:
        return value.at(kernel, ("0",))

    return low.pointwise((), value.dtype, load, [value])


def _given(low: Lowering, node: Any, place: int, name: str, default: Any) -> Any:
    if len(node.args) > place:
        return low.arg(node.args[place])
    return low.arg(node.kwargs[name]) if name in node.kwargs else default


def _pair(
    low: Lowering, source: Value, dim: int, descending: bool, size: Size | None
) -> list[Value]:
    if not source.shape:
        line = _flat(low, source)
        return [_scalar(low, one) for one in _pair(low, line, 0, descending, 1)]
    dim = dim % len(source.shape)
    places = sorted_places(
        low, source, dim, descending, source.shape[dim] if size is None else size
    )
    return [taken(low, source, places, dim), places]


def _sort(low: Lowering, node: Any) -> list[Value]:
    is_stable = str(node.target).endswith("stable")
    dim = _given(low, node, 2 if is_stable else 1, "dim", -1)
    descending = _given(low, node, 3 if is_stable else 2, "descending", False)
    return _pair(low, low.value(node.args[0]), dim, descending, None)


def _topk(low: Lowering, node: Any) -> list[Value]:
    source, size = low.value(node.args[0]), low.arg(node.args[1])
    dim, largest = _given(low, node, 2, "dim", -1), _given(low, node, 3, "largest", True)
    return _pair(low, source, dim, largest, size)


def _nth(low: Lowering, source: Value, dim: int, place: Size, keepdim: bool) -> list[Value]:
    """Return the element at a place of the sorted order, and where it was."""
    if not source.shape:
        return _pair(low, source, 0, False, 1)
    dim = dim % len(source.shape)
    places = sorted_places(low, source, dim, False, source.shape[dim])

    def load(kernel: Kernel, index: Index) -> Var:
        at = kernel.let(f"{kernel.zero()} + ({kernel.number(low.host.text(place))})", "int64").text
        head, tail = index[:dim], index[dim + 1 :] if keepdim else index[dim:]
        return places.at(kernel, (*head, "0" if is_one(source.shape[dim]) else at, *tail))

    middle: tuple[Size, ...] = (1,) if keepdim else ()
    shape = (*source.shape[:dim], *middle, *source.shape[dim + 1 :])
    chosen = low.pointwise(shape, "int64", load, [places])

    def value(kernel: Kernel, index: Index) -> Var:
        at = chosen.at(kernel, index).text
        head, tail = index[:dim], index[dim + 1 :] if keepdim else index[dim:]
        return source.at(kernel, (*head, at, *tail))

    return [low.pointwise(shape, source.dtype, value, [source, chosen]), chosen]


def _kthvalue(low: Lowering, node: Any) -> list[Value]:
    k = low.arg(node.args[1])
    dim, keepdim = _given(low, node, 2, "dim", -1), _given(low, node, 3, "keepdim", False)
    return _nth(low, low.value(node.args[0]), dim, k - 1, keepdim)


def _median(skips_nan: bool, has_dim: bool) -> Callable[[Lowering, Any], Any]:
    def rule(low: Lowering, node: Any) -> Any:
        from models.kernels.synth.emit.views import reshaped
        from models.kernels.synth.layout import product

        source = low.value(node.args[0])
        dim = low.arg(node.args[1]) if has_dim else 0
        keepdim = _given(low, node, 2, "keepdim", False) if has_dim else False
        if not has_dim:
            source = reshaped(low, source, (product(source.shape),))
        if not source.shape:
            return _nth(low, source, 0, 0, False)
        dim = dim % len(source.shape)
        size = source.shape[dim]
        kept = tuple(s for d, s in enumerate(source.shape) if d != dim)

        def nan(kernel: Kernel, index: Index) -> Var:
            x = source.at(kernel, index).text
            return kernel.convert(kernel.let(f"{x} != {x}", "bool"), "int64")

        is_float = source.dtype in FLOATS
        missing = (
            summed(low, low.pointwise(source.shape, "int64", nan, [source]), [dim], kept, "int64")
            if is_float
            else None
        )
        order = sorted_places(low, source, dim, False, size)

        def place(kernel: Kernel, index: Index) -> Var:
            head, tail = index[:dim], index[dim + 1 :] if keepdim else index[dim:]
            count = kernel.number(low.host.text(size))
            middle = kernel.let(f"{kernel.zero()} + ({count} - 1) // 2", "int64").text
            if missing is not None:
                lost = missing.at(kernel, (*head, *tail)).text
                if skips_nan:
                    left = kernel.let(
                        f"tl.where({lost} < {count}, ({count} - {lost} - 1) // 2, 0)", "int64"
                    )
                    middle = left.text
                else:
                    middle = kernel.let(
                        f"tl.where({lost} > 0, {count} - {lost}, {middle})", "int64"
                    ).text
            return order.at(kernel, (*head, "0" if is_one(size) else middle, *tail))

        middle_size: tuple[Size, ...] = (1,) if keepdim else ()
        shape = (*source.shape[:dim], *middle_size, *source.shape[dim + 1 :])
        places = low.pointwise(shape, "int64", place, [order])

        def value(kernel: Kernel, index: Index) -> Var:
            head, tail = index[:dim], index[dim + 1 :] if keepdim else index[dim:]
            return source.at(kernel, (*head, places.at(kernel, index).text, *tail))

        values = low.pointwise(shape, source.dtype, value, [source, places])
        return [values, places] if has_dim else values

    return rule


def _mode(low: Lowering, node: Any) -> list[Value]:
    """The least of the most frequent elements, at the last of its places in sorted order."""
    source = low.value(node.args[0])
    dim, keepdim = _given(low, node, 1, "dim", -1), _given(low, node, 2, "keepdim", False)
    if not source.shape:
        return _pair(low, source, 0, False, 1)
    dim = dim % len(source.shape)
    size, kept = source.shape[dim], [d for d in range(len(source.shape)) if d != dim]
    order = sorted_places(low, source, dim, False, size)
    keys = low.store(taken(low, source, order, dim))

    def length(kernel: Kernel, index: Index) -> Var:
        own = keys.at(kernel, index)

        def is_before(place: str) -> str:
            at = (*index[:dim], "0" if is_one(size) else place, *index[dim + 1 :])
            return before(kernel, keys.at(kernel, at), own, source.dtype, False)[0]

        first = first_place(low, kernel, size, is_before)
        return kernel.let(f"{place_of(kernel, index[dim])} - {first}", "int64")

    lengths = low.pointwise(source.shape, "int64", length, [keys])
    shape = tuple(source.shape[d] for d in kept)
    best = arg_extreme(low, lengths, [dim], shape, True)

    def found(kernel: Kernel, index: Index) -> Var:
        rest = (*index[:dim], *index[dim + 1 :]) if keepdim else index
        at = "0" if is_one(size) else best.at(kernel, rest).text
        return order.at(kernel, (*rest[:dim], at, *rest[dim:]))

    middle: tuple[Size, ...] = (1,) if keepdim else ()
    whole = (*source.shape[:dim], *middle, *source.shape[dim + 1 :])
    places = low.store(low.pointwise(whole, "int64", found, [order, best]))

    def value(kernel: Kernel, index: Index) -> Var:
        rest = (*index[:dim], *index[dim + 1 :]) if keepdim else index
        at = "0" if is_one(size) else places.at(kernel, index).text
        return source.at(kernel, (*rest[:dim], at, *rest[dim:]))

    return [low.pointwise(whole, source.dtype, value, [source, places]), places]


RULES: dict[str, Callable[..., Any]] = {
    "aten.mode": _mode,
    "aten.sort": _sort,
    "aten.topk": _topk,
    "aten.kthvalue": _kthvalue,
    "aten.median.default": _median(False, False),
    "aten.median.dim": _median(False, True),
    "aten.nanmedian.default": _median(True, False),
    "aten.nanmedian.dim": _median(True, True),
}

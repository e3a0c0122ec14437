"""Scatters and index writes: which writes there are, and how they meet; see writes.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.indexing import loaded_index
from models.kernels.synth.emit.selection import unmasked
from models.kernels.synth.emit.slices import chosen, guarded
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.emit.writes import Writes
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import (
    Index,
    Size,
    is_one,
    number_of,
    product,
    split_number,
    strided_offset,
)
from models.kernels.synth.lower import Lowering, Value


def _along(low: Lowering, base: Value, dim: int, index_of: Value, source: Any) -> Writes:
    """Return the writes of scatter: index[.., j, ..] is the place of source[.., j, ..]."""
    count = index_of.shape[dim] if index_of.shape else 1

    def place(index: Index, j: str) -> Index:
        at = [*index[:dim], j, *index[dim + 1 :]] if index_of.shape else []
        return tuple(
            "0" if is_one(size) else one for one, size in zip(at, index_of.shape, strict=True)
        )

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        tests = [
            f"({place_of(kernel, own)} < {kernel.number(low.host.text(size))})"
            for d, (own, size) in enumerate(zip(index, index_of.shape, strict=True))
            if d != dim and not (is_one(size) and own == "0") and size != base.shape[d]
        ]
        inside = kernel.let(" & ".join(tests), "bool").text if tests else "True"
        at = place(index, j)
        element = guarded(kernel, index_of, at, inside) if tests else index_of.at(kernel, at)
        own = place_of(kernel, index[dim]) if base.shape else kernel.zero()
        return kernel.let(" & ".join([f"({element.text} == {own})", *tests]), "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        if isinstance(source, Value):
            at = (*index[:dim], j, *index[dim + 1 :]) if source.shape else ()
            return source.at(
                kernel,
                tuple("0" if is_one(s) else one for one, s in zip(at, source.shape, strict=True)),
            )
        return kernel.block(low.operand(kernel, source), base.dtype)

    return Writes(low, base, count, hits, value)


def _scatter(low: Lowering, node: Any) -> Value:
    base, index_of, source = low.value(node.args[0]), low.value(node.args[2]), low.arg(node.args[3])
    writes = _along(low, base, low.arg(node.args[1]) % max(len(base.shape), 1), index_of, source)
    how = node.kwargs.get("reduce", node.args[4] if len(node.args) > 4 else None)
    if how is None:
        return writes.last()
    return writes.reduced(
        {"add": "sum", "multiply": "prod"}.get(how, how), node.kwargs.get("include_self", True)
    )


def _scatter_add(low: Lowering, node: Any) -> Value:
    base, index_of, source = low.value(node.args[0]), low.value(node.args[2]), low.arg(node.args[3])
    return _along(
        low, base, low.arg(node.args[1]) % max(len(base.shape), 1), index_of, source
    ).total()


def _rows(low: Lowering, base: Value, dim: int, index_of: Value, source: Any) -> Writes:
    """Return the writes of index_add and its kin: whole slices, the index along one dimension."""
    count = product(index_of.shape)

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        element = index_of.at(kernel, ("0" if is_one(count) else j,) if index_of.shape else ())
        own = place_of(kernel, index[dim]) if base.shape else kernel.zero()
        size = base.shape[dim] if base.shape else 1
        return kernel.let(f"{loaded_index(low, kernel, element, size)} == {own}", "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        if not isinstance(source, Value):
            return kernel.block(low.operand(kernel, source), base.dtype)
        at = (*index[:dim], j, *index[dim + 1 :])
        return source.at(
            kernel,
            tuple(
                "0" if is_one(s) else one
                for one, s in zip(at[: len(source.shape)], source.shape, strict=True)
            ),
        )

    return Writes(low, base, count, hits, value)


def _index_add(low: Lowering, node: Any) -> Value:
    base, index_of, source = (
        low.value(node.args[0]),
        low.value(node.args[2]),
        low.value(node.args[3]),
    )
    alpha = node.kwargs.get("alpha", 1)
    factor = low.arg(alpha)

    def scaled(kernel: Kernel, index: Index) -> Var:
        x = source.at(kernel, index)
        if factor == 1:
            return x
        return kernel.let(f"{x.text} * {low.operand(kernel, factor).text}", x.dtype)

    part = low.pointwise(source.shape, source.dtype, scaled, [source])
    return _rows(low, base, low.arg(node.args[1]) % max(len(base.shape), 1), index_of, part).total()


def _index_copy(low: Lowering, node: Any) -> Value:
    base, index_of, source = low.value(node.args[0]), low.value(node.args[2]), low.arg(node.args[3])
    return _rows(
        low, base, low.arg(node.args[1]) % max(len(base.shape), 1), index_of, source
    ).last()


def _index_reduce(low: Lowering, node: Any) -> Value:
    base, index_of, source = low.value(node.args[0]), low.value(node.args[2]), low.arg(node.args[3])
    writes = _rows(low, base, low.arg(node.args[1]) % max(len(base.shape), 1), index_of, source)
    return writes.reduced(node.args[4], node.kwargs.get("include_self", True))


def _widest(shapes: list[tuple[Size, ...]]) -> tuple[Size, ...]:
    """Return the shape that indices broadcast to; torch's trace does not hold sizes to be equal."""
    import sympy  # type: ignore[import-untyped]

    rank = max(len(shape) for shape in shapes)
    whole: list[Size] = [1] * rank
    for shape in shapes:
        for back, size in enumerate(reversed(shape), 1):
            if is_one(whole[-back]):
                whole[-back] = size
            elif not is_one(size):
                whole[-back] = sympy.Max(whole[-back], size)
    return tuple(whole)


def _open_index(
    low: Lowering, kernel: Kernel, index: Index, shape: tuple[Size, ...], due: tuple[Size, ...]
) -> Index:
    """Return the index into what broadcasts to `due`; sizes not known to be equal may be 1."""
    own = []
    skip = len(due) - len(shape)
    for place, size, whole in zip(index[skip:], shape, due[skip:], strict=True):
        if is_one(size) or place == "0":
            own.append("0")
        elif size == whole:
            own.append(place)
        else:
            is_wide = kernel.number(f"int({low.host.text(size)} != 1)")
            own.append(kernel.let(f"{place} * {is_wide}", "int64").text)
    return tuple(own)


def _where(low: Lowering, base: Value, mask: Value, source: Value, lead: int) -> Value:
    """Return the base with one number where a mask over some of its dimensions holds."""

    def load(kernel: Kernel, index: Index) -> Var:
        own = index[lead : lead + len(mask.shape)]
        test = kernel.convert(mask.at(kernel, own), "bool").text
        element = source.at(kernel, ("0",) * len(source.shape))
        if element.dtype != base.dtype:
            element = kernel.convert(element, base.dtype)
        return chosen(kernel, test, element, base.at(kernel, index), base.dtype)

    return low.pointwise(base.shape, base.dtype, load, [base, mask, source])


def _index_put(low: Lowering, node: Any) -> Value:
    base, source = low.value(node.args[0]), low.value(node.args[2])
    indices = low.arg(node.args[1])
    accumulate = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate", False)
    used = [place for place, one in enumerate(indices) if isinstance(one, Value)]
    masks = [indices[place] for place in used if indices[place].dtype in ("bool", "uint8")]
    if len(masks) == len(used) == 1 and product(source.shape) == 1 and not accumulate:
        return _where(low, base, masks[0], source, used[0])
    indices = unmasked(low, indices, None)
    used = [place for place, one in enumerate(indices) if isinstance(one, Value)]
    parts = [indices[place] for place in used]
    widest = _widest([one.shape for one in parts])
    # Separated indices put their dimensions in front.
    lead = used[0] if used == list(range(used[0], used[-1] + 1)) else 0

    kept = [size for dim, size in enumerate(base.shape) if dim not in used]
    due = (*kept[:lead], *widest, *kept[lead:])

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        middle = split_number(kernel, j, widest, low.host.text)
        tests = []
        for dim in used:
            one = indices[dim]
            element = one.at(kernel, _open_index(low, kernel, middle, one.shape, widest))
            place = loaded_index(low, kernel, element, base.shape[dim])
            tests.append(f"({place} == {place_of(kernel, index[dim])})")
        return kernel.let(" & ".join(tests), "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        middle = split_number(kernel, j, widest, low.host.text)
        rest = [one for dim, one in enumerate(index) if dim not in used]
        whole = (*rest[:lead], *middle, *rest[lead:])
        return source.at(kernel, _open_index(low, kernel, whole, source.shape, due))

    writes = Writes(low, base, product(widest), hits, value)
    return writes.total() if accumulate else writes.last()


def _put(low: Lowering, node: Any) -> Value:
    """Writes to flat places."""
    base, index_of, source = (low.value(one) for one in node.args[:3])
    accumulate = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate", False)
    line, places, values = (
        reshaped(low, one, (product(one.shape),)) for one in (base, index_of, source)
    )
    count = line.shape[0]

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        element = places.at(kernel, ("0" if is_one(places.shape[0]) else j,))
        place = loaded_index(low, kernel, element, count)
        return kernel.let(f"{place} == {place_of(kernel, index[0])}", "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        return values.at(kernel, ("0" if is_one(values.shape[0]) else j,))

    writes = Writes(low, line, places.shape[0], hits, value)
    return reshaped(low, writes.total() if accumulate else writes.last(), base.shape)


def _as_strided_scatter(low: Lowering, node: Any) -> Value:
    """Writes to where strides lead in the memory of the base."""
    base, source = low.value(node.args[0]), low.value(node.args[1])
    sizes, strides, offset = (low.arg(one) for one in node.args[2:5])
    origin = "0" if base.tensor is None else f"{base.tensor}.storage_offset()"

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        if base.tensor is None:
            own = number_of(kernel, index, base.shape, low.host.text)
        else:
            own = strided_offset(kernel, index, base.tensor)
        parts = split_number(kernel, j, sizes, low.host.text)
        terms = [
            f"{part} * {kernel.number(low.host.text(stride))}"
            for part, stride in zip(parts, strides, strict=True)
            if part != "0"
        ]
        begin = origin if offset is None else low.host.text(offset)
        place = " + ".join([kernel.number(begin), *terms])
        own = f"{place_of(kernel, own)} + {kernel.number(origin)}"
        return kernel.let(f"({place}) == ({own})", "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        return source.at(kernel, split_number(kernel, j, source.shape, low.host.text))

    return Writes(low, base, product(sizes), hits, value).last()


RULES: dict[str, Callable[..., Any]] = {
    "aten.scatter": _scatter,
    "aten.scatter_reduce": _scatter,
    "aten.scatter_add": _scatter_add,
    "aten.index_add": _index_add,
    "aten.index_copy": _index_copy,
    "aten.index_fill": _index_copy,
    "aten.index_reduce": _index_reduce,
    "aten.index_put": _index_put,
    "aten.put": _put,
    "prims.as_strided_scatter": _as_strided_scatter,
    "aten.as_strided_scatter": _as_strided_scatter,
    "aten._unsafe_index_put": _index_put,
}

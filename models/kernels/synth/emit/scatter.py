"""Scatters and index writes: which writes there are, and how they meet; see writes.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.indexing import loaded_index
from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.emit.slices import guarded
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.emit.writes import Writes
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product, split_number
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.scalar import UnsupportedError


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


def _index_put(low: Lowering, node: Any) -> Value:
    base, indices, source = low.value(node.args[0]), low.arg(node.args[1]), low.value(node.args[2])
    accumulate = node.args[3] if len(node.args) > 3 else node.kwargs.get("accumulate", False)
    used = [place for place, one in enumerate(indices) if isinstance(one, Value)]
    parts = [indices[place] for place in used]
    if any(one.dtype in ("bool", "uint8") for one in parts):
        raise UnsupportedError("an index_put by a mask")
    if used != list(range(used[0], used[-1] + 1)):
        raise UnsupportedError("an index_put with separated indices")
    width = max(len(one.shape) for one in parts)
    widest: list[Size] = [1] * width
    for one in parts:
        for back in range(1, len(one.shape) + 1):
            if not is_one(one.shape[-back]):
                widest[-back] = one.shape[-back]
    lead = used[0]

    def hits(kernel: Kernel, index: Index, j: str) -> str:
        middle = split_number(kernel, j, widest, low.host.text)
        tests = []
        for dim in used:
            one = indices[dim]
            element = one.at(kernel, broadcast_index(middle, one.shape))
            place = loaded_index(low, kernel, element, base.shape[dim])
            tests.append(f"({place} == {place_of(kernel, index[dim])})")
        return kernel.let(" & ".join(tests), "bool").text

    def value(kernel: Kernel, index: Index, j: str) -> Var:
        middle = split_number(kernel, j, widest, low.host.text)
        whole = (*index[:lead], *middle, *index[used[-1] + 1 :])
        return source.at(kernel, broadcast_index(whole, source.shape))

    writes = Writes(low, base, product(widest), hits, value)
    return writes.total() if accumulate else writes.last()


RULES: dict[str, Callable[..., Any]] = {
    "aten.scatter": _scatter,
    "aten.scatter_reduce": _scatter,
    "aten.scatter_add": _scatter_add,
    "aten.index_add": _index_add,
    "aten.index_copy": _index_copy,
    "aten.index_fill": _index_copy,
    "aten.index_reduce": _index_reduce,
    "aten.index_put": _index_put,
    "aten._unsafe_index_put": _index_put,
}

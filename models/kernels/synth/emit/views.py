"""Views: the index of a result becomes an index of what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, not_one, number_of, split_number
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of

Remap = Callable[[Kernel, Index], Index]


def remapped(
    low: Lowering, node: Any, source: Value, remap: Remap, is_in_order: bool = False
) -> Value:
    """Return a value that reads another at other indices; in order: dimensions of 1 differ only."""
    fake = node.meta["val"]

    def load(kernel: Kernel, index: Index) -> Var:
        return source.at(kernel, remap(kernel, index))

    shape = sizes_of(fake.shape)
    return low.pointwise(shape, dtype_of(fake), load, [source], source if is_in_order else None)


def _same(low: Lowering, node: Any) -> Value:
    return low.value(node.args[0])


def _broadcast_in_dim(low: Lowering, node: Any) -> Value:
    source, dims = low.value(node.args[0]), low.arg(node.args[2])
    shape = sizes_of(node.meta["val"].shape)
    is_end = list(dims) == list(range(len(shape) - len(source.shape), len(shape)))
    if is_end and (wide := low.wide(source, shape)) is not None:
        return wide

    def remap(kernel: Kernel, index: Index) -> Index:
        return tuple(
            "0" if is_one(size) else index[dim]
            for dim, size in zip(dims, source.shape, strict=True)
        )

    is_in_order = list(dims) == sorted(dims) and not_one(shape) == not_one(source.shape)
    return remapped(low, node, source, remap, is_in_order)


def _expand(low: Lowering, node: Any) -> Value:
    source, shape = low.value(node.args[0]), sizes_of(node.meta["val"].shape)
    if (wide := low.wide(source, shape)) is not None:
        return wide

    def remap(kernel: Kernel, index: Index) -> Index:
        own = index[len(index) - len(source.shape) :]
        return tuple(
            "0" if is_one(size) else place for place, size in zip(own, source.shape, strict=True)
        )

    return remapped(low, node, source, remap, not_one(shape) == not_one(source.shape))


def _permute(low: Lowering, node: Any) -> Value:
    source, order = low.value(node.args[0]), low.arg(node.args[1])
    rank = len(source.shape)

    def remap(kernel: Kernel, index: Index) -> Index:
        own = [""] * rank
        for place, dim in enumerate(order):
            own[dim % rank] = index[place]
        return tuple(own)

    return remapped(low, node, source, remap)


def _transpose(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    rank = len(source.shape)
    first, second = (dim % max(rank, 1) for dim in (node.args[1:] or (0, 1)))

    def remap(kernel: Kernel, index: Index) -> Index:
        own = list(index)
        if own:
            own[first], own[second] = own[second], own[first]
        return tuple(own)

    return remapped(low, node, source, remap)


def _squeeze(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    rank = len(source.shape)
    asked = low.arg(node.args[1]) if len(node.args) > 1 else list(range(rank))
    dims = {dim % max(rank, 1) for dim in (asked if isinstance(asked, list) else [asked])}
    gone = {dim for dim in dims if rank and is_one(source.shape[dim])}

    def remap(kernel: Kernel, index: Index) -> Index:
        left = iter(index)
        return tuple("0" if dim in gone else next(left) for dim in range(rank))

    return remapped(low, node, source, remap, is_in_order=True)


def _unsqueeze(low: Lowering, node: Any) -> Value:
    source, dim = low.value(node.args[0]), low.arg(node.args[1]) % (len(node.meta["val"].shape))

    def remap(kernel: Kernel, index: Index) -> Index:
        return index[:dim] + index[dim + 1 :]

    return remapped(low, node, source, remap, is_in_order=True)


def _reshape(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    shape = sizes_of(node.meta["val"].shape)
    return reshaped(low, source, shape)


def reshaped(low: Lowering, source: Value, shape: tuple[Size, ...]) -> Value:
    """Return a value under another shape of as many elements."""
    if shape == source.shape:
        return source
    ahead = 0
    while ahead < min(len(shape), len(source.shape)) and shape[ahead] == source.shape[ahead]:
        ahead += 1
    behind = 0
    while (
        behind < min(len(shape), len(source.shape)) - ahead
        and shape[-1 - behind] == source.shape[-1 - behind]
    ):
        behind += 1

    def load(kernel: Kernel, index: Index) -> Var:
        stop, own_stop = len(index) - behind, len(source.shape) - behind
        number = number_of(kernel, index[ahead:stop], shape[ahead:stop], low.host.text)
        inner = split_number(kernel, number, source.shape[ahead:own_stop], low.host.text)
        return source.at(kernel, (*index[:ahead], *inner, *index[stop:]))

    return low.pointwise(shape, source.dtype, load, [source], source)


def _select(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    dim, place = node.args[1] % len(source.shape), low.arg(node.args[2])
    at = place if not isinstance(place, int) or place >= 0 else source.shape[dim] + place

    def remap(kernel: Kernel, index: Index) -> Index:
        return (*index[:dim], _text(low, kernel, at), *index[dim:])

    return remapped(low, node, source, remap)


def _text(low: Lowering, kernel: Kernel, size: Size) -> str:
    """Return an index that is a number of the host."""
    if size == 0:
        return "0"
    return kernel.let(f"{kernel.zero()} + {kernel.number(low.host.text(size))}", "int64").text


def _slice(low: Lowering, node: Any) -> Value:
    import sympy  # type: ignore[import-untyped]

    source = low.value(node.args[0])
    args = [low.arg(one) for one in node.args[1:]]
    dim, start, _, step = [*args, *[None] * 4][:4]
    dim, step = (dim or 0) % max(len(source.shape), 1), step or 1
    size = source.shape[dim]
    start = 0 if start is None else start
    if isinstance(start, int) and start < 0:
        start = sympy.Max(0, size + start)
    elif start != 0:
        start = sympy.Min(start, size)

    def remap(kernel: Kernel, index: Index) -> Index:
        own = index[dim]
        if own != "0" and step != 1:
            own = kernel.let(f"{own} * {kernel.number(low.host.text(step))}", "int64").text
        if start != 0:
            offset = kernel.number(low.host.text(start))
            base = own if own != "0" else kernel.zero()
            own = kernel.let(f"{base} + {offset}", "int64").text
        return (*index[:dim], own, *index[dim + 1 :])

    return remapped(low, node, source, remap)


def _in_place(rule: Callable[[Lowering, Any], Value]) -> Callable[[Lowering, Any], Value]:
    """Return the rule of a view whose later uses see it under the name of its source."""

    def changed(low: Lowering, node: Any) -> Value:
        result = rule(low, node)
        low.env[node.args[0]] = result
        return result

    return changed


RULES: dict[str, Callable[..., Any]] = {
    "prims.broadcast_in_dim": _broadcast_in_dim,
    "aten.expand": _expand,
    "prims.transpose": _permute,
    "aten.permute": _permute,
    "aten.transpose": _transpose,
    "aten.t": _transpose,
    "prims.squeeze": _squeeze,
    "aten.squeeze": _squeeze,
    "aten.squeeze_": _in_place(_squeeze),
    "aten.unsqueeze": _unsqueeze,
    "aten.unsqueeze_": _in_place(_unsqueeze),
    "aten.transpose_": _in_place(_transpose),
    "prims.collapse_view": _reshape,
    "prims.split_dim": _reshape,
    "prims.reshape": _reshape,
    "aten.view": _reshape,
    "aten.reshape": _reshape,
    "aten._unsafe_view": _reshape,
    "aten._reshape_alias": _reshape,
    "prims.collapse": _reshape,
    "prims.view_of": _same,
    "aten.alias": _same,
    "aten.detach": _same,
    "aten.lift_fresh_copy": _same,
    "aten.select": _select,
    "aten.slice": _slice,
}

"""Views and joins: the index of a result becomes an index of what it was made from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, number_of, split_number
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.scalar import UnsupportedError

Remap = Callable[[Kernel, Index], Index]


def remapped(low: Lowering, node: Any, source: Value, remap: Remap) -> Value:
    """Return a value that reads another at other indices."""
    fake = node.meta["val"]

    def load(kernel: Kernel, index: Index) -> Var:
        return source.at(kernel, remap(kernel, index))

    return low.pointwise(sizes_of(fake.shape), dtype_of(fake), load, [source])


def _same(low: Lowering, node: Any) -> Value:
    return low.value(node.args[0])


def _broadcast_in_dim(low: Lowering, node: Any) -> Value:
    source, dims = low.value(node.args[0]), low.arg(node.args[2])

    def remap(kernel: Kernel, index: Index) -> Index:
        return tuple(
            "0" if is_one(size) else index[dim]
            for dim, size in zip(dims, source.shape, strict=True)
        )

    return remapped(low, node, source, remap)


def _expand(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])

    def remap(kernel: Kernel, index: Index) -> Index:
        own = index[len(index) - len(source.shape) :]
        return tuple(
            "0" if is_one(size) else place for place, size in zip(own, source.shape, strict=True)
        )

    return remapped(low, node, source, remap)


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

    return remapped(low, node, source, remap)


def _unsqueeze(low: Lowering, node: Any) -> Value:
    source, dim = low.value(node.args[0]), low.arg(node.args[1]) % (len(node.meta["val"].shape))

    def remap(kernel: Kernel, index: Index) -> Index:
        return index[:dim] + index[dim + 1 :]

    return remapped(low, node, source, remap)


def _reshape(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    shape = sizes_of(node.meta["val"].shape)
    return reshaped(low, source, shape)


def reshaped(low: Lowering, source: Value, shape: tuple[Size, ...]) -> Value:
    """Return a value under another shape of as many elements."""
    if shape == source.shape:
        return source
    ahead = 0
    while (
        ahead < min(len(shape), len(source.shape)) and shape[ahead] == source.shape[ahead]
    ):
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

    return low.pointwise(shape, source.dtype, load, [source])


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
    import sympy

    source = low.value(node.args[0])
    args = [low.arg(one) for one in node.args[1:]]
    dim, start, stop, step = [*args, *[None] * 4][:4]
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


def _flip(low: Lowering, node: Any) -> Value:
    source, dims = low.value(node.args[0]), low.arg(node.args[1])
    turned = {dim % max(len(source.shape), 1) for dim in dims}

    def remap(kernel: Kernel, index: Index) -> Index:
        return tuple(
            kernel.let(f"{kernel.number(low.host.text(source.shape[dim] - 1))} - {place}", "int64").text
            if dim in turned and place != "0"
            else place
            for dim, place in enumerate(index)
        )

    return remapped(low, node, source, remap)


def _roll(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    shifts = low.arg(node.args[1])
    dims = low.arg(node.args[2]) if len(node.args) > 2 else []
    if not dims:
        import sympy

        flat = sympy.Integer(1)
        for size in source.shape:
            flat = flat * size
        line = reshaped(low, source, (flat,))
        return reshaped(low, _rolled(low, line, {0: shifts[0]}), source.shape)
    turns: dict[int, Any] = {}
    for dim, shift in zip(dims, shifts, strict=True):
        place = dim % max(len(source.shape), 1)
        turns[place] = turns.get(place, 0) + shift
    return _rolled(low, source, turns)


def _rolled(low: Lowering, source: Value, turns: dict[int, Any]) -> Value:
    def load(kernel: Kernel, index: Index) -> Var:
        own = list(index)
        for dim, shift in turns.items():
            if own[dim] == "0":
                continue
            size = kernel.number(low.host.text(source.shape[dim]))
            moved = kernel.let(f"({own[dim]} - {kernel.number(low.host.text(shift))}) % {size}" if isinstance(shift, int) and shift >= 0 else f"({own[dim]} - ({low.host.text(shift)})) % {size}", "int64")
            own[dim] = kernel.let(f"tl.where({moved.text} < 0, {moved.text} + {size}, {moved.text})", "int64").text
        return source.at(kernel, tuple(own))

    return low.pointwise(source.shape, source.dtype, load, [source])


def _cat(low: Lowering, node: Any) -> Value:
    parts = [one for one in low.arg(node.args[0]) if isinstance(one, Value)]
    fake = node.meta["val"]
    shape, dtype = sizes_of(fake.shape), dtype_of(fake)
    parts = [one for one in parts if len(one.shape) == len(shape) and all(s != 0 for s in one.shape)]
    asked = low.arg(node.args[1]) if len(node.args) > 1 else node.kwargs.get("dim", 0)
    dim = asked % max(len(shape), 1)
    if len(parts) > 16:
        raise UnsupportedError(f"a join of {len(parts)} tensors")

    def load(kernel: Kernel, index: Index) -> Var:
        start: Size = 0
        result: Var | None = None
        outer = kernel.mask
        place = index[dim] if index[dim] != "0" else kernel.zero()
        for part in parts:
            begin = kernel.number(low.host.text(start)) if start != 0 else "0"
            own = kernel.let(f"{place} - {begin}", "int64").text if begin != "0" else place
            end = kernel.number(low.host.text(part.shape[dim]))
            inside = kernel.let(f"({own} >= 0) & ({own} < {end})", "bool").text
            kernel.mask = kernel.let(f"{outer} & {inside}", "bool").text
            at = tuple(
                "0" if is_one(size) else (own if d == dim else index[d])
                for d, size in enumerate(part.shape)
            )
            value = kernel.convert(part.at(kernel, at), dtype)
            kernel.mask = outer
            if result is None:
                result = value
            elif dtype == "bool":
                result = kernel.let(f"({inside} & {value.text}) | (({inside} == 0) & {result.text})", "bool")
            else:
                result = kernel.let(f"tl.where({inside}, {value.text}, {result.text})", value.dtype)
            start = start + part.shape[dim]
        if result is None:
            return Var("0", dtype, is_scalar=True)
        return result

    return low.pointwise(shape, dtype, load, parts)


def _squeeze_in_place(low: Lowering, node: Any) -> Value:
    result = _squeeze(low, node)
    low.env[node.args[0]] = result
    return result


RULES: dict[str, Callable[..., Any]] = {
    "prims.broadcast_in_dim": _broadcast_in_dim,
    "aten.expand": _expand,
    "prims.transpose": _permute,
    "aten.permute": _permute,
    "aten.transpose": _transpose,
    "aten.t": _transpose,
    "prims.squeeze": _squeeze,
    "aten.squeeze": _squeeze,
    "aten.squeeze_": _squeeze_in_place,
    "aten.unsqueeze": _unsqueeze,
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
    "aten.flip": _flip,
    "prims.rev": _flip,
    "aten.roll": _roll,
    "prims.cat": _cat,
    "aten.cat": _cat,
}

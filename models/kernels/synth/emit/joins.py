"""Tensors put together or turned round: joins, flips, rolls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.views import remapped, reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.scalar import UnsupportedError


def _flip(low: Lowering, node: Any) -> Value:
    source, dims = low.value(node.args[0]), low.arg(node.args[1])
    turned = {dim % max(len(source.shape), 1) for dim in dims}

    def remap(kernel: Kernel, index: Index) -> Index:
        return tuple(
            kernel.let(
                f"{kernel.number(low.host.text(source.shape[dim] - 1))} - {place}", "int64"
            ).text
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
        line = reshaped(low, source, (product(source.shape),))
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
            # A number of the source stays one, a number of the call becomes a parameter.
            by = f"({shift})" if isinstance(shift, int) else kernel.number(low.host.text(shift))
            moved = kernel.let(f"({own[dim]} - {by}) % {size}", "int64")
            own[dim] = kernel.let(
                f"tl.where({moved.text} < 0, {moved.text} + {size}, {moved.text})", "int64"
            ).text
        return source.at(kernel, tuple(own))

    return low.pointwise(source.shape, source.dtype, load, [source])


def _cat(low: Lowering, node: Any) -> Value:
    parts = [one for one in low.arg(node.args[0]) if isinstance(one, Value)]
    fake = node.meta["val"]
    shape, dtype = sizes_of(fake.shape), dtype_of(fake)
    parts = [
        one for one in parts if len(one.shape) == len(shape) and all(s != 0 for s in one.shape)
    ]
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
                result = kernel.let(
                    f"({inside} & {value.text}) | (({inside} == 0) & {result.text})", "bool"
                )
            else:
                result = kernel.let(f"tl.where({inside}, {value.text}, {result.text})", value.dtype)
            start = start + part.shape[dim]
        if result is None:
            return Var("0", dtype, is_scalar=True)
        return result

    return low.pointwise(shape, dtype, load, parts)


RULES: dict[str, Callable[..., Any]] = {
    "aten.flip": _flip,
    "prims.rev": _flip,
    "aten.roll": _roll,
    "prims.cat": _cat,
    "aten.cat": _cat,
}

"""Extremes and sums of everything up to a place, and counts of what lies below a value.

Each is a reduction over pairs, so work grows with the square of the size.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import arg_extreme, extreme, summed
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, is_one
from models.kernels.synth.lower import Lowering, Value, sizes_of
from models.kernels.synth.promotion import FLOATS


def _cumulative_extreme(is_max: bool) -> Callable[[Lowering, Any], list[Value]]:
    """Extremes of everything up to a place; the place of the last of equals, as ATen has it."""

    def rule(low: Lowering, node: Any) -> list[Value]:
        source = low.value(node.args[0])
        if not source.shape:
            zero = low.pointwise((), "int64", lambda kernel, _: Var("0", "int64", True), [])
            return [source, zero]
        dim = low.arg(node.args[1]) % len(source.shape)
        size = source.shape[dim]

        def load(kernel: Kernel, index: Index) -> Var:
            own = index[:-1]
            i, j = place_of(kernel, own[dim]), place_of(kernel, index[-1])
            back = kernel.let(f"tl.where({i} >= {j}, {i} - {j}, 0)", "int64").text
            return source.at(kernel, (*own[:dim], "0" if is_one(size) else back, *own[dim + 1 :]))

        # Column j looks j places back; beyond the start it sees the first element again, so the
        # first hit is the latest place.
        window = low.pointwise((*source.shape, size), source.dtype, load, [source])
        values = extreme(low, window, [-1], source.shape, is_max)
        steps = arg_extreme(low, window, [-1], source.shape, is_max)

        def place(kernel: Kernel, index: Index) -> Var:
            i = place_of(kernel, index[dim])
            moved = kernel.let(f"{i} - {steps.at(kernel, index).text}", "int64").text
            return kernel.let(f"tl.where({moved} < 0, 0, {moved})", "int64")

        return [values, low.pointwise(source.shape, "int64", place, [steps])]

    return rule


def _logcumsumexp(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    if not source.shape:
        return source
    dim, shape = low.arg(node.args[1]) % len(source.shape), sizes_of(node.meta["val"].shape)
    size = source.shape[dim]

    def earlier(kernel: Kernel, index: Index) -> tuple[Var, str]:
        own = index[:-1]
        i, j = place_of(kernel, own[dim]), place_of(kernel, index[-1])
        at = (*own[:dim], "0" if is_one(size) else index[-1], *own[dim + 1 :])
        return source.at(kernel, at), kernel.let(f"{j} <= {i}", "bool").text

    def masked(kernel: Kernel, index: Index) -> Var:
        x, test = earlier(kernel, index)
        return kernel.let(f'tl.where({test}, {x.text}, float("-inf"))', x.dtype)

    top = extreme(
        low, low.pointwise((*shape, size), source.dtype, masked, [source]), [-1], shape, True
    )

    def terms(kernel: Kernel, index: Index) -> Var:
        x, test = earlier(kernel, index)
        most = top.at(kernel, index[:-1]).text
        shift = kernel.let(f'tl.where(tl.abs({most}) == float("inf"), 0.0, {most})', x.dtype).text
        return kernel.let(f"tl.where({test}, tl.exp({x.text} - {shift}), 0.0)", x.dtype)

    held = "float64" if source.dtype == "float64" else "float32"
    total = summed(
        low, low.pointwise((*shape, size), held, terms, [source, top]), [-1], shape, held
    )

    def result(kernel: Kernel, index: Index) -> Var:
        most = top.at(kernel, index).text
        shift = kernel.let(f'tl.where(tl.abs({most}) == float("inf"), 0.0, {most})', held).text
        return kernel.convert(
            kernel.let(f"tl.log({total.at(kernel, index).text}) + {shift}", held), source.dtype
        )

    return low.pointwise(shape, source.dtype, result, [top, total])


def _searchsorted(low: Lowering, node: Any) -> Value:
    """Count the elements before each value; with right also those equal to it."""
    swapped = "bucketize" in str(node.target)
    first, second = low.arg(node.args[0]), low.arg(node.args[1])
    edges, values = (second, first) if swapped else (first, second)
    right = node.kwargs.get("right", False) or node.kwargs.get("side") == "right"
    sign, fake = "<=" if right else "<", node.meta["val"]
    shape, dtype = sizes_of(fake.shape), str(fake.dtype).removeprefix("torch.")
    assert isinstance(edges, Value)
    sorter = node.kwargs.get("sorter")
    order = low.value(sorter) if sorter is not None else None

    def load(kernel: Kernel, index: Index) -> Var:
        lead = index[:-2] if len(edges.shape) > 1 else ()
        at = (*lead, "0" if is_one(edges.shape[-1]) else index[-1])
        if order is not None:
            at = (*lead, order.at(kernel, at).text)
        x = edges.at(kernel, at)
        y = (
            values.at(kernel, index[:-1])
            if isinstance(values, Value)
            else low.operand(kernel, values)
        )
        if not y.is_scalar and y.dtype != x.dtype:
            wide = "float32" if "float32" in (x.dtype, y.dtype) else "int64"
            x, y = kernel.convert(x, wide), kernel.convert(y, wide)
        test = f"({x.text} {sign} {y.text})"
        if x.dtype in FLOATS:
            own = kernel.block(y, x.dtype).text
            test = f"({test} | (({own} != {own}) & ({x.text} == {x.text})))"
        return kernel.convert(kernel.let(test, "bool"), "int64")

    parts = [one for one in (edges, values) if isinstance(one, Value)]
    pairs = low.pointwise((*shape, edges.shape[-1]), "int64", load, parts)
    return summed(low, pairs, [-1], shape, dtype)


RULES: dict[str, Callable[..., Any]] = {
    "aten.cummax": _cumulative_extreme(True),
    "aten.cummin": _cumulative_extreme(False),
    "aten.logcumsumexp": _logcumsumexp,
    "aten.searchsorted": _searchsorted,
    "aten.bucketize": _searchsorted,
}

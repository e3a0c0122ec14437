"""Convolutions and distances: sums of products over a window or a row, lazily indexed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import extreme, summed
from models.kernels.synth.emit.slices import guarded, plus, times
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.emit.window import spread, window_index
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Load, Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS
from models.kernels.synth.scalar import apply


def _convolution(low: Lowering, node: Any) -> Value:
    """Sum over input channels of the group and the window; transposed: over what reaches."""
    source, weight = low.value(node.args[0]), low.value(node.args[1])
    bias = low.arg(node.args[2])
    fake = node.meta["val"]
    out, dtype = sizes_of(fake.shape), dtype_of(fake)
    rank = len(out) - 2
    step, pad, dilation = (spread(low.arg(node.args[place]), rank) for place in (3, 4, 5))
    is_transposed, groups = low.arg(node.args[6]), low.arg(node.args[8])
    held = dtype if dtype in FLOATS else "int64"
    per_group = source.shape[1] if groups == 1 else _quotient(source.shape[1], groups)
    out_per_group = out[1] if groups == 1 else _quotient(out[1], groups)

    def load(kernel: Kernel, index: Index) -> Var:
        batch, channel = index[0], index[1]
        inner, window = index[2 + rank], index[3 + rank :]
        group = "0"
        if groups != 1:
            size = kernel.number(low.host.text(out_per_group))
            group = kernel.let(f"{place_of(kernel, channel)} // {size}", "int64").text
        own_in = inner
        if group != "0":
            scaled = times(low, kernel, group, per_group)
            own_in = scaled if inner == "0" else kernel.let(f"{scaled} + {inner}", "int64").text
        tests, places = [], []
        for d in range(rank):
            size = source.shape[2 + d]
            if is_transposed:
                moved = plus(low, kernel, index[2 + d], pad[d])
                taken = times(low, kernel, window[d], dilation[d])
                base = moved if moved != "0" else kernel.zero()
                by = kernel.number(low.host.text(step[d]))
                at = kernel.let(f"{base} // {by}", "int64").text
                rest, due = kernel.let(f"{base} % {by}", "int64").text, "0"
                if taken != "0":
                    # Rows and columns are divided apart, not each element: equal remainders are
                    # what makes the gap between them divisible.
                    due = kernel.let(f"{taken} % {by}", "int64").text
                    skipped = kernel.let(f"{taken} // {by}", "int64").text
                    at = kernel.let(f"{at} - {skipped}", "int64").text
                limit = kernel.number(low.host.text(size))
                tests.append(f"({rest} == {due}) & ({at} >= 0) & ({at} < {limit})")
            else:
                at, test = window_index(
                    low, kernel, index[2 + d], window[d], step[d], dilation[d], pad[d], size
                )
                tests.append(test)
            places.append("0" if is_one(size) else at)
        test = kernel.let(" & ".join(tests), "bool").text
        own_in = "0" if is_one(source.shape[1]) else own_in
        x = kernel.convert(guarded(kernel, source, (batch, own_in, *places), test), held)
        if is_transposed:
            channel_out = channel
            if groups != 1:
                channel_out = kernel.let(
                    f"{place_of(kernel, channel)} % {kernel.number(low.host.text(out_per_group))}",
                    "int64",
                ).text
            at_weight = (own_in, "0" if is_one(weight.shape[1]) else channel_out, *window)
        else:
            at_weight = (channel, inner, *window)
        w = kernel.convert(weight.at(kernel, at_weight), held)
        return kernel.let(f"tl.where({test}, {x.text} * {w.text}, 0)", x.dtype)

    kernel_size = weight.shape[2:]
    whole = low.pointwise((*out, per_group, *kernel_size), held, load, [source, weight])
    dims = list(range(len(out), len(out) + 1 + rank))
    total = summed(
        low, whole, dims, out, "float32" if dtype in FLOATS and dtype != "float64" else held
    )

    def plus_bias(kernel: Kernel, index: Index) -> Var:
        found = total.at(kernel, index)
        if isinstance(bias, Value):
            b = kernel.convert(
                bias.at(kernel, ("0" if is_one(bias.shape[0]) else index[1],)), total.dtype
            )
            found = kernel.let(f"{found.text} + {b.text}", found.dtype)
        return kernel.convert(found, dtype)

    return low.pointwise(out, dtype, plus_bias, [total])


def _quotient(size: Size, parts: Any) -> Size:
    if isinstance(size, int) and isinstance(parts, int):
        return size // parts
    from torch.utils._sympy.functions import FloorDiv

    return FloorDiv(size, parts)


def _distance(
    low: Lowering, gap: Load, shape: tuple[Size, ...], size: Size, p: float, dtype: str
) -> Value:
    """Return the p-norm over the last dimension of gaps, of shape (*shape, size)."""
    held = "float64" if dtype == "float64" else "float32"

    def term(kernel: Kernel, index: Index) -> Var:
        d = gap(kernel, index)
        if p == 0.0:
            return kernel.let(f"tl.where({d.text} != 0.0, 1.0, 0.0)", held)
        if p in (1.0, 2.0, math.inf):
            return kernel.let(f"{d.text} * {d.text}", held) if p == 2.0 else d
        return apply(kernel, "pow", [d, Var(repr(p), held, is_scalar=True)], held)

    whole = low.pointwise((*shape, size), held, term, [])
    if p == math.inf:
        total = extreme(low, whole, [-1], shape, True)
    else:
        total = summed(low, whole, [-1], shape, held)

    def load(kernel: Kernel, index: Index) -> Var:
        found = total.at(kernel, index)
        if p == 2.0:
            found = kernel.let(f"tl.sqrt({found.text})", found.dtype)
        elif p not in (0.0, 1.0, math.inf):
            root = Var(repr(1.0 / p), held, is_scalar=True)
            found = apply(kernel, "pow", [found, root], held)
        return kernel.convert(found, dtype)

    return low.pointwise(shape, dtype, load, [total])


def _cdist(low: Lowering, node: Any) -> Value:
    left, right, p = low.value(node.args[0]), low.value(node.args[1]), low.arg(node.args[2])
    fake = node.meta["val"]

    def gap(kernel: Kernel, index: Index) -> Var:
        lead, (i, j, k) = index[:-3], index[-3:]
        a = left.at(kernel, (*_lead(lead, left), i, k))
        b = right.at(kernel, (*_lead(lead, right), j, k))
        return kernel.let(f"tl.abs({a.text} - {b.text})", a.dtype)

    return _distance(low, gap, sizes_of(fake.shape), left.shape[-1], float(p), dtype_of(fake))


def _pdist(low: Lowering, node: Any) -> Value:
    """Return distances of pairs i < j, in order: number k of a pair gives i and j.

    Pairs whose first row is below i count i (2 n - i - 1) / 2; the root that inverts it is taken
    in double precision and set right by one where rounding missed.
    """
    source = low.value(node.args[0])
    p = float(low.arg(node.args[1])) if len(node.args) > 1 else 2.0
    fake = node.meta["val"]

    def gap(kernel: Kernel, index: Index) -> Var:
        number = place_of(kernel, index[0])
        n = kernel.number(low.host.text(source.shape[0]))
        b = kernel.let(f"2 * {n} - 1 + {number} * 0", "int64").text
        wide = kernel.let(f"({b} * {b} - 8 * {number}).to(tl.float64)", "float64").text
        root = kernel.let(f"tl.sqrt(tl.where({wide} > 0.0, {wide}, 0.0))", "float64").text
        i = kernel.let(f"(({b}.to(tl.float64) - {root}) * 0.5).to(tl.int64)", "int64").text
        # One too far, or one too near.
        i = kernel.let(f"tl.where({i} * ({b} - {i}) // 2 > {number}, {i} - 1, {i})", "int64").text
        behind = f"({i} + 1) * ({b} - {i} - 1) // 2 <= {number}"
        i = kernel.let(f"tl.where({behind}, {i} + 1, {i})", "int64").text
        j = kernel.let(f"{number} - {i} * ({b} - {i}) // 2 + {i} + 1", "int64").text
        x, y = source.at(kernel, (i, index[1])), source.at(kernel, (j, index[1]))
        return kernel.let(f"tl.abs({x.text} - {y.text})", x.dtype)

    return _distance(low, gap, sizes_of(fake.shape), source.shape[1], p, dtype_of(fake))


def _lead(index: Index, value: Value) -> Index:
    shape = value.shape[:-2]
    own = index[len(index) - len(shape) :]
    return tuple("0" if is_one(size) else place for place, size in zip(own, shape, strict=True))


RULES: dict[str, Callable[..., Any]] = {
    "aten.convolution": _convolution,
    "synth.convolution": _convolution,
    "aten._cdist_forward": _cdist,
    "aten._pdist_forward": _pdist,
}

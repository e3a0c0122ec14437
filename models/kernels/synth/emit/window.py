"""Convolutions and pools: sums and extremes over a window, lazily indexed and masked at edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.kernels.synth.emit.reduction import arg_extreme, extreme, identity, summed
from models.kernels.synth.emit.slices import chosen, guarded, plus, times
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS, compute_type
from models.kernels.synth.scalar import UnsupportedError


def _spread(value: Any, rank: int) -> list[Any]:
    listed = list(value) if isinstance(value, list | tuple) else [value]
    return listed * rank if len(listed) == 1 else listed


def window_index(
    low: Lowering, kernel: Kernel, out: str, inside: str, step: Any, dilation: Any, pad: Any, size: Size
) -> tuple[str, str]:
    """Return where a window element lies along one dimension, and the test that it is inside."""
    first = times(low, kernel, out, step)
    inner = times(low, kernel, inside, dilation)
    both = inner if first == "0" else first if inner == "0" else kernel.let(f"{first} + {inner}", "int64").text
    at = plus(low, kernel, both, -pad)
    base = at if at != "0" else kernel.zero()
    return base, f"({base} >= 0) & ({base} < {kernel.number(low.host.text(size))})"


def windows(
    low: Lowering, source: Value, kernel_size: Sequence[Any], step: Sequence[Any], pad: Sequence[Any],
    dilation: Sequence[Any], out: tuple[Size, ...], fill: str,
) -> Value:
    """Return a value of shape out + kernel_size: the elements of each window, `fill` outside."""
    rank = len(kernel_size)
    lead = len(source.shape) - rank

    def load(kernel: Kernel, index: Index) -> Var:
        own, tests = list(index[:lead]), []
        for d in range(rank):
            place, test = window_index(
                low, kernel, index[lead + d], index[lead + rank + d], step[d], dilation[d], pad[d], source.shape[lead + d]
            )
            own.append("0" if is_one(source.shape[lead + d]) else place)
            tests.append(test)
        test = kernel.let(" & ".join(tests), "bool").text
        element = guarded(kernel, source, tuple(own), test)
        return chosen(kernel, test, element, Var(fill, source.dtype, True), source.dtype)

    return low.pointwise((*out, *kernel_size), source.dtype, load, [source])


def _pool_arguments(low: Lowering, node: Any, rank: int) -> dict[str, Any]:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    if "avg" in str(node.target):
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    given = dict(zip(names, [low.arg(one) for one in node.args[1:]], strict=False))
    given |= {name: low.arg(value) for name, value in node.kwargs.items()}
    size = _spread(given["kernel_size"], rank)
    step = _spread(given["stride"], rank) if given.get("stride") else size
    return {
        **given, "kernel_size": size, "stride": step, "padding": _spread(given.get("padding", 0), rank),
        "dilation": _spread(given.get("dilation", 1), rank),
    }  # fmt: skip


def _max_pool(rank: int) -> Callable[[Lowering, Any], list[Value]]:
    def rule(low: Lowering, node: Any) -> list[Value]:
        source, given = low.value(node.args[0]), _pool_arguments(low, node, rank)
        out = sizes_of(node.meta["val"][0].shape)
        lead = len(source.shape) - rank
        fill = identity(compute_type(source.dtype), True)
        seen = windows(
            low, source, given["kernel_size"], given["stride"], given["padding"], given["dilation"], out, fill
        )
        dims = list(range(len(out), len(out) + rank))
        values = extreme(low, seen, dims, out, True)
        first = arg_extreme(low, seen, dims, out, True)

        def place(kernel: Kernel, index: Index) -> Var:
            left = first.at(kernel, index).text
            inner = [""] * rank
            for d in reversed(range(rank)):
                size = kernel.number(low.host.text(given["kernel_size"][d]))
                inner[d] = kernel.let(f"{left} % {size}", "int64").text
                left = kernel.let(f"{left} // {size}", "int64").text
            number = ""
            for d in range(rank):
                at, _ = window_index(
                    low, kernel, index[lead + d], inner[d], given["stride"][d], given["dilation"][d],
                    given["padding"][d], source.shape[lead + d],
                )  # fmt: skip
                size = kernel.number(low.host.text(source.shape[lead + d]))
                number = at if not number else kernel.let(f"{number} * {size} + {at}", "int64").text
            return kernel.let(f"{number} + 0", "int64")

        return [values, low.pointwise(out, "int64", place, [first])]

    return rule


def _avg_pool(rank: int) -> Callable[[Lowering, Any], Value]:
    def rule(low: Lowering, node: Any) -> Value:
        source, given = low.value(node.args[0]), _pool_arguments(low, node, rank)
        fake = node.meta["val"]
        out, dtype = sizes_of(fake.shape), dtype_of(fake)
        lead = len(source.shape) - rank
        ones = [1] * rank
        seen = windows(low, source, given["kernel_size"], given["stride"], given["padding"], ones, out, "0.0" if dtype in FLOATS else "0")
        dims = list(range(len(out), len(out) + rank))
        held = dtype if dtype == "float64" else "float32" if dtype in FLOATS else "int64"
        total = summed(low, seen, dims, out, held)
        divisor = given.get("divisor_override")
        counts_pad = given.get("count_include_pad", True)

        def load(kernel: Kernel, index: Index) -> Var:
            count = ""
            for d in range(rank):
                size = kernel.number(low.host.text(source.shape[lead + d]))
                pad, width = given["padding"][d], given["kernel_size"][d]
                start = plus(low, kernel, times(low, kernel, index[lead + d], given["stride"][d]), -pad)
                start = start if start != "0" else kernel.zero()
                end = kernel.let(f"{start} + {kernel.number(low.host.text(width))}", "int64").text
                limit = f"{size} + {kernel.number(low.host.text(pad))}" if counts_pad else size
                end = kernel.let(f"tl.where({end} < {limit}, {end}, {limit})", "int64").text
                if not counts_pad:
                    start = kernel.let(f"tl.where({start} > 0, {start}, 0)", "int64").text
                extent = kernel.let(f"{end} - {start}", "int64").text
                count = extent if not count else kernel.let(f"{count} * {extent}", "int64").text
            if divisor is not None:
                count = kernel.let(f"{kernel.zero()} + ({kernel.number(low.host.text(divisor))})", "int64").text
            whole = total.at(kernel, index)
            if dtype in FLOATS:
                return kernel.convert(kernel.let(f"{whole.text} / {count}.to(tl.{held})", held), dtype)
            return kernel.convert(kernel.let(f"{whole.text} // {count}", held), dtype)

        return low.pointwise(out, dtype, load, [total])

    return rule


def _convolution(low: Lowering, node: Any) -> Value:
    """Sum over input channels of the group and the window; transposed ones turn the window round."""
    source, weight = low.value(node.args[0]), low.value(node.args[1])
    bias = low.arg(node.args[2])
    fake = node.meta["val"]
    out, dtype = sizes_of(fake.shape), dtype_of(fake)
    rank = len(out) - 2
    step, pad, dilation = (_spread(low.arg(node.args[place]), rank) for place in (3, 4, 5))
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
            group = kernel.let(f"{place_or_zero(kernel, channel)} // {size}", "int64").text
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
                gap = base if taken == "0" else kernel.let(f"{base} - {taken}", "int64").text
                by = kernel.number(low.host.text(step[d]))
                at = kernel.let(f"{gap} // {by}", "int64").text
                limit = kernel.number(low.host.text(size))
                tests.append(f"({gap} >= 0) & ({gap} % {by} == 0) & ({at} < {limit})")
            else:
                at, test = window_index(low, kernel, index[2 + d], window[d], step[d], dilation[d], pad[d], size)
                tests.append(test)
            places.append("0" if is_one(size) else at)
        test = kernel.let(" & ".join(tests), "bool").text
        own_in = "0" if is_one(source.shape[1]) else own_in
        x = kernel.convert(guarded(kernel, source, (batch, own_in, *places), test), held)
        if is_transposed:
            channel_out = channel
            if groups != 1:
                channel_out = kernel.let(f"{place_or_zero(kernel, channel)} % {kernel.number(low.host.text(out_per_group))}", "int64").text
            at_weight = (own_in, "0" if is_one(weight.shape[1]) else channel_out, *window)
        else:
            at_weight = (channel, inner, *window)
        w = kernel.convert(weight.at(kernel, at_weight), held)
        return kernel.let(f"tl.where({test}, {x.text} * {w.text}, 0)", x.dtype)

    kernel_size = weight.shape[2:]
    whole = low.pointwise((*out, per_group, *kernel_size), held, load, [source, weight])
    dims = list(range(len(out), len(out) + 1 + rank))
    total = summed(low, whole, dims, out, "float32" if dtype in FLOATS and dtype != "float64" else held)

    def plus_bias(kernel: Kernel, index: Index) -> Var:
        found = total.at(kernel, index)
        if isinstance(bias, Value):
            b = kernel.convert(bias.at(kernel, ("0" if is_one(bias.shape[0]) else index[1],)), total.dtype)
            found = kernel.let(f"{found.text} + {b.text}", found.dtype)
        return kernel.convert(found, dtype)

    return low.pointwise(out, dtype, plus_bias, [total])


def place_or_zero(kernel: Kernel, place: str) -> str:
    """Return an index as a block, also where it is 0 by size."""
    return place if place != "0" else kernel.zero()


def _quotient(size: Size, parts: Any) -> Size:
    if isinstance(size, int) and isinstance(parts, int):
        return size // parts
    from torch.utils._sympy.functions import FloorDiv

    return FloorDiv(size, parts)


def _cdist(low: Lowering, node: Any) -> Value:
    left, right, p = low.value(node.args[0]), low.value(node.args[1]), low.arg(node.args[2])
    fake = node.meta["val"]
    out, dtype = sizes_of(fake.shape), dtype_of(fake)
    if p not in (0.0, 1.0, 2.0, float("inf")):
        raise UnsupportedError(f"distances with p = {p}")

    def gap(kernel: Kernel, index: Index) -> Var:
        lead, (i, j, k) = index[:-3], index[-3:]
        a = left.at(kernel, (*_lead(lead, left), i, k))
        b = right.at(kernel, (*_lead(lead, right), j, k))
        d = kernel.let(f"tl.abs({a.text} - {b.text})", a.dtype)
        if p == 0.0:
            return kernel.let(f"tl.where({d.text} != 0.0, 1.0, 0.0)", a.dtype)
        return kernel.let(f"{d.text} * {d.text}", a.dtype) if p == 2.0 else d

    whole = low.pointwise((*out, left.shape[-1]), dtype, gap, [left, right])
    total = extreme(low, whole, [-1], out, True) if p == float("inf") else summed(low, whole, [-1], out, dtype)

    def load(kernel: Kernel, index: Index) -> Var:
        found = total.at(kernel, index)
        return kernel.let(f"tl.sqrt({found.text})", found.dtype) if p == 2.0 else found

    return low.pointwise(out, dtype, load, [total])


def _lead(index: Index, value: Value) -> Index:
    shape = value.shape[:-2]
    own = index[len(index) - len(shape) :]
    return tuple("0" if is_one(size) else place for place, size in zip(own, shape, strict=True))


RULES: dict[str, Callable[..., Any]] = {
    "aten.max_pool2d_with_indices": _max_pool(2),
    "aten.max_pool3d_with_indices": _max_pool(3),
    "aten.avg_pool1d": _avg_pool(1),
    "aten.avg_pool2d": _avg_pool(2),
    "aten.avg_pool3d": _avg_pool(3),
    "aten.convolution": _convolution,
    "aten._cdist_forward": _cdist,
}

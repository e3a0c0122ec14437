"""Pools: sums and extremes over a window, lazily indexed and masked at the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.kernels.synth.emit.reduction import arg_extreme, extreme, identity, summed
from models.kernels.synth.emit.slices import chosen, guarded, plus, times
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS, compute_type


def spread(value: Any, rank: int) -> list[Any]:
    """Return one number per dimension, given one or all."""
    listed = list(value) if isinstance(value, list | tuple) else [value]
    return listed * rank if len(listed) == 1 else listed


def window_index(
    low: Lowering,
    kernel: Kernel,
    out: str,
    inside: str,
    step: Any,
    dilation: Any,
    pad: Any,
    size: Size,
) -> tuple[str, str]:
    """Return where a window element lies along one dimension, and the test that it is inside."""
    first = times(low, kernel, out, step)
    inner = times(low, kernel, inside, dilation)
    both = (
        inner
        if first == "0"
        else first
        if inner == "0"
        else kernel.let(f"{first} + {inner}", "int64").text
    )
    at = plus(low, kernel, both, -pad)
    base = at if at != "0" else kernel.zero()
    return base, f"({base} >= 0) & ({base} < {kernel.number(low.host.text(size))})"


def windows(
    low: Lowering,
    source: Value,
    kernel_size: Sequence[Any],
    step: Sequence[Any],
    pad: Sequence[Any],
    dilation: Sequence[Any],
    out: tuple[Size, ...],
    fill: str,
) -> Value:
    """Return a value of shape out + kernel_size: the elements of each window, `fill` outside."""
    rank = len(kernel_size)
    lead = len(source.shape) - rank

    def load(kernel: Kernel, index: Index) -> Var:
        own, tests = list(index[:lead]), []
        for d in range(rank):
            place, test = window_index(
                low,
                kernel,
                index[lead + d],
                index[lead + rank + d],
                step[d],
                dilation[d],
                pad[d],
                source.shape[lead + d],
            )
            own.append("0" if is_one(source.shape[lead + d]) else place)
            tests.append(test)
        test = kernel.let(" & ".join(tests), "bool").text
        element = guarded(kernel, source, tuple(own), test)
        return chosen(kernel, test, element, Var(fill, source.dtype, True), source.dtype)

    return low.pointwise((*out, *kernel_size), source.dtype, load, [source])


def _pool_arguments(low: Lowering, node: Any, rank: int) -> dict[str, Any]:
    names: tuple[str, ...] = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
    if "avg" in str(node.target):
        names = (
            "kernel_size",
            "stride",
            "padding",
            "ceil_mode",
            "count_include_pad",
            "divisor_override",
        )
    given = dict(zip(names, [low.arg(one) for one in node.args[1:]], strict=False))
    given |= {name: low.arg(value) for name, value in node.kwargs.items()}
    size = spread(given["kernel_size"], rank)
    step = spread(given["stride"], rank) if given.get("stride") else size
    return {
        **given, "kernel_size": size, "stride": step,
        "padding": spread(given.get("padding", 0), rank),
        "dilation": spread(given.get("dilation", 1), rank),
    }  # fmt: skip


def _max_pool(rank: int) -> Callable[[Lowering, Any], list[Value]]:
    def rule(low: Lowering, node: Any) -> list[Value]:
        source, given = low.value(node.args[0]), _pool_arguments(low, node, rank)
        out = sizes_of(node.meta["val"][0].shape)
        lead = len(source.shape) - rank
        fill = identity(compute_type(source.dtype), True)
        seen = windows(
            low,
            source,
            given["kernel_size"],
            given["stride"],
            given["padding"],
            given["dilation"],
            out,
            fill,
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
                    low, kernel, index[lead + d], inner[d], given["stride"][d],
                    given["dilation"][d], given["padding"][d], source.shape[lead + d],
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
        seen = windows(
            low,
            source,
            given["kernel_size"],
            given["stride"],
            given["padding"],
            ones,
            out,
            "0.0" if dtype in FLOATS else "0",
        )
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
                start = plus(
                    low, kernel, times(low, kernel, index[lead + d], given["stride"][d]), -pad
                )
                start = start if start != "0" else kernel.zero()
                end = kernel.let(f"{start} + {kernel.number(low.host.text(width))}", "int64").text
                limit = f"{size} + {kernel.number(low.host.text(pad))}" if counts_pad else size
                end = kernel.let(f"tl.where({end} < {limit}, {end}, {limit})", "int64").text
                if not counts_pad:
                    start = kernel.let(f"tl.where({start} > 0, {start}, 0)", "int64").text
                extent = kernel.let(f"{end} - {start}", "int64").text
                count = extent if not count else kernel.let(f"{count} * {extent}", "int64").text
            if divisor is not None:
                count = kernel.let(
                    f"{kernel.zero()} + ({kernel.number(low.host.text(divisor))})", "int64"
                ).text
            whole = total.at(kernel, index)
            if dtype in FLOATS:
                return kernel.convert(
                    kernel.let(f"{whole.text} / {count}.to(tl.{held})", held), dtype
                )
            return kernel.convert(kernel.let(f"{whole.text} // {count}", held), dtype)

        return low.pointwise(out, dtype, load, [total])

    return rule


RULES: dict[str, Callable[..., Any]] = {
    "aten.max_pool2d_with_indices": _max_pool(2),
    "aten.max_pool3d_with_indices": _max_pool(3),
    "aten.avg_pool1d": _avg_pool(1),
    "aten.avg_pool2d": _avg_pool(2),
    "aten.avg_pool3d": _avg_pool(3),
}

"""Pools: sums and extremes over a window, lazily indexed and masked at the edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.kernels.synth.emit.reduction import Reduction, extreme, identity, summed
from models.kernels.synth.emit.slices import chosen, guarded, plus, times
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS, compute_type

Reach = Callable[[Kernel, str, str], tuple[str, str]]
"""From a place in the result and one in its window to the place in the source, and the test that
it lies in the window and in the source."""


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


def sliding(low: Lowering, size: Size, step: Any, pad: Any, dilation: Any) -> Reach:
    """Return the reach of windows that move by a step."""

    def reach(kernel: Kernel, out: str, inside: str) -> tuple[str, str]:
        return window_index(low, kernel, out, inside, step, dilation, pad, size)

    return reach


def adaptive(low: Lowering, size: Size, count: Size) -> Reach:
    """Return the reach of windows that share a size out: from i n / m up to (i + 1) n / m."""

    def reach(kernel: Kernel, out: str, inside: str) -> tuple[str, str]:
        start, end = shares(low, kernel, out, size, count)
        at = kernel.let(f"{start} + {place_of(kernel, inside)}", "int64").text
        return at, f"({at} < {end})"

    return reach


def shares(low: Lowering, kernel: Kernel, out: str, size: Size, count: Size) -> tuple[str, str]:
    """Return the first place of an adaptive window and the place behind its last."""
    i = place_of(kernel, out)
    n, m = (kernel.number(low.host.text(one)) for one in (size, count))
    start = kernel.let(f"({i} * {n}) // {m}", "int64").text
    return start, kernel.let(f"(({i} + 1) * {n} + {m} - 1) // {m}", "int64").text


def adaptive_width(size: Size, count: Size) -> Size:
    """Return a bound of the width of adaptive windows."""
    if isinstance(size, int) and isinstance(count, int):
        return -(-size // count) + 1
    from torch.utils._sympy.functions import FloorDiv

    return FloorDiv(size + count - 1, count) + 1


class Windows:
    """The windows of a pool over the last dimensions of a value."""

    def __init__(
        self, low: Lowering, source: Value, widths: Sequence[Size], reaches: Sequence[Reach],
        out: tuple[Size, ...],
    ) -> None:  # fmt: skip
        self.low, self.source, self.out = low, source, out
        self.widths, self.reaches = list(widths), list(reaches)
        self.rank = len(self.widths)
        self.lead = len(source.shape) - self.rank
        self.dims = list(range(len(out), len(out) + self.rank))

    def _reached(self, kernel: Kernel, index: Index) -> tuple[list[str], str]:
        """Return the places along the pooled dimensions, and the test of them all."""
        places, tests = [], []
        for d, reach in enumerate(self.reaches):
            place, test = reach(kernel, index[self.lead + d], index[self.lead + self.rank + d])
            places.append(place)
            tests.append(test)
        return places, kernel.let(" & ".join(tests), "bool").text

    def elements(self, fill: str) -> Value:
        """Return the elements, of shape out + widths; `fill` where a window leaves the source."""
        low, source = self.low, self.source

        def load(kernel: Kernel, index: Index) -> Var:
            places, test = self._reached(kernel, index)
            own = [
                "0" if is_one(size) else place
                for place, size in zip(places, source.shape[self.lead :], strict=True)
            ]
            element = guarded(kernel, source, (*index[: self.lead], *own), test)
            return chosen(kernel, test, element, Var(fill, source.dtype, True), source.dtype)

        return low.pointwise((*self.out, *self.widths), source.dtype, load, [source])

    def numbers(self) -> Value:
        """Return the elements' numbers within the pooled dimensions, -1 outside."""
        low, sizes = self.low, self.source.shape[self.lead :]

        def load(kernel: Kernel, index: Index) -> Var:
            places, test = self._reached(kernel, index)
            number = places[0]
            for place, size in zip(places[1:], sizes[1:], strict=True):
                scaled = f"{number} * {kernel.number(low.host.text(size))}"
                number = kernel.let(f"{scaled} + {place}", "int64").text
            return kernel.let(f"tl.where({test}, {number}, -1)", "int64")

        return low.pointwise((*self.out, *self.widths), "int64", load, [])

    def largest(self) -> Value:
        """Return the extreme of each window."""
        fill = identity(compute_type(self.source.dtype), True)
        return extreme(self.low, self.elements(fill), self.dims, self.out, True)

    def largest_with_number(self) -> list[Value]:
        """Return the extreme of each window and its number, in one pass.

        Ties go to the first of equals, but to the last of NaNs, as in ATen's loop
        `if (x > best || isnan(x))`.
        """
        dtype = self.source.dtype
        kind = compute_type(dtype)
        held = "int32" if kind in ("bool", "uint8") else kind
        work = Reduction(self.low, self.elements(identity(kind, True)), self.dims)
        kernel, numbers = work.kernel, self.numbers()
        work.start("best", identity(dtype, True), held)
        work.start("place", "-1", "int64")
        with work.columns_loop() as element:
            x = kernel.convert(element, held).text
            number = numbers.at(kernel, work.index).text
            nan = f" | ({x} != {x})" if kind in FLOATS else ""
            test = f"mask & ({number} >= 0) & (({x} > best) | (place < 0){nan})"
            kernel.line(f"better = {test}")
            kernel.line(f"best = tl.where(better, {x}, best)")
            kernel.line(f"place = tl.where(better, {number}, place)")
        clean = "best"
        if kind in FLOATS:
            kernel.line("is_nan = best != best")
            kernel.line("nan_place = tl.max(tl.where(is_nan, place, -1), axis=1)")
            kernel.line('real = tl.where(is_nan, float("-inf"), best)')
            clean = "real"
        kernel.line(f"top = tl.max({clean}, axis=1)")
        hit = f"({clean} == top[:, None]) & (place >= 0)"
        kernel.line(f"first = tl.min(tl.where({hit}, place, 9223372036854775807), axis=1)")
        if kind not in FLOATS:
            return work.finish_all([("top", self.out, dtype), ("first", self.out, "int64")])
        kernel.line('whole = tl.where(nan_place >= 0, float("nan"), top)')
        kernel.line("chosen = tl.where(nan_place >= 0, nan_place, first)")
        return work.finish_all([("whole", self.out, dtype), ("chosen", self.out, "int64")])

    def mean(self, count: Callable[[Kernel, Index], str], dtype: str) -> Value:
        """Return the sum of each window over a number of elements."""
        low = self.low
        held = dtype if dtype == "float64" else "float32" if dtype in FLOATS else "int64"
        zero = "0.0" if dtype in FLOATS else "0"
        total = summed(low, self.elements(zero), self.dims, self.out, held)

        def load(kernel: Kernel, index: Index) -> Var:
            whole, parts = total.at(kernel, index), count(kernel, index)
            if dtype in FLOATS:
                return kernel.convert(
                    kernel.let(f"{whole.text} / {parts}.to(tl.{held})", held), dtype
                )
            return kernel.convert(kernel.let(f"{whole.text} // {parts}", held), dtype)

        return low.pointwise(self.out, dtype, load, [total])


def multiplied(kernel: Kernel, extents: Sequence[str]) -> str:
    """Return the product of the extents of a window."""
    count = extents[0]
    for extent in extents[1:]:
        count = kernel.let(f"{count} * {extent}", "int64").text
    return count


def _fakes(node: Any) -> list[Any]:
    value = node.meta["val"]
    return list(value) if isinstance(value, list | tuple) else [value]


def _uses(node: Any, place: int) -> bool:
    """Whether a graph uses a result of a node that has several."""
    return any("getitem" not in str(user.target) or user.args[1] == place for user in node.users)


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


def _windows(low: Lowering, node: Any, rank: int, given: dict[str, Any]) -> Windows:
    source = low.value(node.args[0])
    sizes = source.shape[len(source.shape) - rank :]
    reaches = [
        sliding(low, sizes[d], given["stride"][d], given["padding"][d], given["dilation"][d])
        for d in range(rank)
    ]
    out = sizes_of(_fakes(node)[0].shape)
    return Windows(low, source, given["kernel_size"], reaches, out)


def _max_pool(low: Lowering, node: Any) -> list[Any]:
    rank = _rank(node)
    windows = _windows(low, node, rank, _pool_arguments(low, node, rank))
    return windows.largest_with_number() if _uses(node, 1) else [windows.largest(), None]


def _rank(node: Any) -> int:
    """Return how many dimensions are pooled: as many as the list of widths has."""
    name = str(node.target)
    return next((rank for rank in (1, 2, 3) if f"{rank}d" in name), None) or len(node.args[1])


def _avg_pool(low: Lowering, node: Any) -> Value:
    rank = _rank(node)
    given = _pool_arguments(low, node, rank)
    windows = _windows(low, node, rank, given)
    divisor, counts_pad = given.get("divisor_override"), given.get("count_include_pad", True)
    sizes = windows.source.shape[windows.lead :]

    def extent(kernel: Kernel, index: Index, d: int) -> str:
        size = kernel.number(low.host.text(sizes[d]))
        pad, width = given["padding"][d], given["kernel_size"][d]
        moved = times(low, kernel, index[windows.lead + d], given["stride"][d])
        start = place_of(kernel, plus(low, kernel, moved, -pad))
        end = kernel.let(f"{start} + {kernel.number(low.host.text(width))}", "int64").text
        limit = f"{size} + {kernel.number(low.host.text(pad))}" if counts_pad else size
        end = kernel.let(f"tl.where({end} < {limit}, {end}, {limit})", "int64").text
        if not counts_pad:
            start = kernel.let(f"tl.where({start} > 0, {start}, 0)", "int64").text
        return kernel.let(f"{end} - {start}", "int64").text

    def count(kernel: Kernel, index: Index) -> str:
        if divisor is not None:
            return kernel.let(
                f"{kernel.zero()} + ({kernel.number(low.host.text(divisor))})", "int64"
            ).text
        return multiplied(kernel, [extent(kernel, index, d) for d in range(rank)])

    return windows.mean(count, dtype_of(node.meta["val"]))


def _adaptive_windows(low: Lowering, node: Any) -> Windows:
    source, rank = low.value(node.args[0]), len(node.args[1])
    sizes, out = source.shape[len(source.shape) - rank :], sizes_of(_fakes(node)[0].shape)
    pairs = list(zip(sizes, out[len(out) - rank :], strict=True))
    reaches = [adaptive(low, size, count) for size, count in pairs]
    return Windows(low, source, [adaptive_width(*pair) for pair in pairs], reaches, out)


def _adaptive_max(low: Lowering, node: Any) -> list[Any]:
    windows = _adaptive_windows(low, node)
    return windows.largest_with_number() if _uses(node, 1) else [windows.largest(), None]


def _adaptive_avg(low: Lowering, node: Any) -> Value:
    windows = _adaptive_windows(low, node)
    sizes, out = windows.source.shape[windows.lead :], windows.out[windows.lead :]

    def count(kernel: Kernel, index: Index) -> str:
        extents = []
        for place, size, number in zip(index[windows.lead :], sizes, out, strict=True):
            start, end = shares(low, kernel, place, size, number)
            extents.append(kernel.let(f"{end} - {start}", "int64").text)
        return multiplied(kernel, extents)

    return windows.mean(count, dtype_of(node.meta["val"]))


RULES: dict[str, Callable[..., Any]] = {
    "synth.max_pool": _max_pool,
    "synth.avg_pool": _avg_pool,
    "synth.adaptive_max_pool": _adaptive_max,
    "synth.adaptive_avg_pool": _adaptive_avg,
    "aten.max_pool2d_with_indices": _max_pool,
    "aten.max_pool3d_with_indices": _max_pool,
    "aten.adaptive_max_pool2d": _adaptive_max,
    "aten.adaptive_max_pool3d": _adaptive_max,
    "aten.avg_pool1d": _avg_pool,
    "aten.avg_pool2d": _avg_pool,
    "aten.avg_pool3d": _avg_pool,
    "aten._adaptive_avg_pool2d": _adaptive_avg,
    "aten._adaptive_avg_pool3d": _adaptive_avg,
}

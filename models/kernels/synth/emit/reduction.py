"""Reductions: rows of results by columns of what each result takes in, in blocks of both.

Sums of floats accumulate in float64 where the device has it (else in float32), of integers in
int64: what cancels leaves nothing but rounding, and a reduction waits for memory anyway. Variances
take two passes, for E[x^2] - E[x]^2 cancels. Extremes keep NaN; arg-extremes take the first of
equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from models.kernels.synth.expression import Kernel, Var, tl_type
from models.kernels.synth.layout import Index, Size, product, split_number
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS, compute_type
from models.kernels.synth.scalar import UnsupportedError
from models.kernels.synth.schedule import elements_argument


class Reduction:
    """One reduction kernel while it is written."""

    def __init__(self, low: Lowering, source: Value, dims: Sequence[int]) -> None:
        self.low = low
        self.source = source
        rank = len(source.shape)
        reduced = sorted({dim % max(rank, 1) for dim in dims}) if rank else []
        self.reduced = reduced
        self.kept = [dim for dim in range(rank) if dim not in reduced]
        self.rows = product([source.shape[dim] for dim in self.kept])
        self.columns = product([source.shape[dim] for dim in reduced])
        self.kernel = Kernel(rank=2)
        self.row_count = self.kernel.number(low.host.text(self.rows))
        self.column_count = self.kernel.number(low.host.text(self.columns))
        self.index: Index = ()
        """Index of the element that the loop is at."""

    def columns_loop(self) -> AbstractContextManager[Var]:
        """Loop over blocks of columns; yields the element, masked lanes hold anything."""
        return self._loop()

    @contextmanager
    def _loop(self) -> Any:
        kernel, low, shape = self.kernel, self.low, self.source.shape
        kernel.line(f"for start in range(0, {self.column_count}, COLS):")
        kernel.depth += 1
        known, memo = dict(kernel.known), dict(kernel.memo)
        kernel.line("col = (start + tl.arange(0, COLS)).to(tl.int64)[None, :]")
        kernel.line(f"mask = (row < {self.row_count}) & (col < {self.column_count})")
        kernel.mask = "mask"
        outer = split_number(kernel, "row", [shape[dim] for dim in self.kept], low.host.text)
        inner = split_number(kernel, "col", [shape[dim] for dim in self.reduced], low.host.text)
        index = [""] * len(shape)
        for dim, place in zip([*self.kept, *self.reduced], [*outer, *inner], strict=True):
            index[dim] = place
        self.index = tuple(index)
        element = kernel.block(self.source.at(kernel, self.index), self.source.dtype)
        yield element
        kernel.known, kernel.memo = known, memo
        kernel.depth -= 1

    def start(self, name: str, value: str, dtype: str) -> None:
        """Set an accumulator for every row and column of the block."""
        self.kernel.line(f"{name} = tl.full((ROWS, COLS), {value}, dtype={tl_type(dtype)})")

    def finish(self, text: str, shape: tuple[Size, ...], dtype: str) -> Value:
        """Store a result per row, given as a block of (ROWS,)."""
        return self.finish_all([(text, shape, dtype)])[0]

    def finish_all(self, results: Sequence[tuple[str, tuple[Size, ...], str]]) -> list[Value]:
        """Store results per row, each given as a block of (ROWS,) with its shape and type."""
        low, kernel = self.low, self.kernel
        stored = []
        for text, shape, dtype in results:
            held = low.held_type(dtype)
            name = low.out.allocate(low.host.shape(shape), held)
            target = kernel.pointer(name, held)
            kernel.line(f"tl.store({target} + line, {text}, mask=line < {self.row_count})")
            stored.append(low.buffer(name, shape, dtype, held))
        header = [
            "line = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)",
            "row = line[:, None]",
        ]
        columns, rows = low.host.text(self.columns), low.host.text(self.rows)
        block = f"_rows({rows}, {columns}{elements_argument(low.schedule, kernel.operations())})"
        grid = f"(triton.cdiv({rows}, {block}),)"
        blocks = {"ROWS": block, "COLS": f"_columns({columns})", "GRID": grid}
        low.launch(kernel, header, self.rows, blocks)
        return stored


def accumulator(low: Lowering, dtype: str) -> str:
    """Return the type that a sum of elements of a type is held in."""
    if dtype not in FLOATS:
        return "int64"
    return "float64" if low.schedule.doubles else "float32"


def summed(
    low: Lowering, source: Value, dims: Sequence[int], shape: tuple[Size, ...], dtype: str
) -> Value:
    """Return the sum over dimensions."""
    work = Reduction(low, source, dims)
    held = accumulator(low, source.dtype if source.dtype in FLOATS else dtype)
    work.start("acc", "0", held)
    with work.columns_loop() as element:
        whole = work.kernel.convert(element, held)
        work.kernel.line(f"acc += tl.where(mask, {whole.text}, 0)")
    return work.finish("tl.sum(acc, axis=1)", shape, dtype)


def _sum(low: Lowering, node: Any) -> Value:
    source, fake = low.value(node.args[0]), node.meta["val"]
    return summed(low, source, _dims(low, node, source), sizes_of(fake.shape), dtype_of(fake))


def _dims(low: Lowering, node: Any, source: Value) -> list[int]:
    asked = low.arg(node.args[1]) if len(node.args) > 1 else node.kwargs.get("dim")
    if asked is None or asked == []:
        return list(range(len(source.shape)))
    return asked if isinstance(asked, list) else [asked]


def _prod(low: Lowering, node: Any) -> Value:
    source, fake = low.value(node.args[0]), node.meta["val"]
    dtype = dtype_of(fake)
    work = Reduction(low, source, _dims(low, node, source))
    held = accumulator(low, source.dtype if source.dtype in FLOATS else dtype)
    work.start("acc", "1", held)
    with work.columns_loop() as element:
        whole = work.kernel.convert(element, held)
        work.kernel.line(f"acc = acc * tl.where(mask, {whole.text}, 1)")
    work.kernel.helpers.add("_times")
    return work.finish("tl.reduce(acc, 1, _times)", sizes_of(fake.shape), dtype)


def identity(dtype: str, is_max: bool) -> str:
    """Return the element that an extreme of a type never prefers."""
    if dtype in FLOATS:
        return 'float("-inf")' if is_max else 'float("inf")'
    bits = {"bool": 32, "uint8": 32, "int8": 8, "int16": 16, "int32": 32, "int64": 64}[dtype]
    return str(-(2 ** (bits - 1)) if is_max else 2 ** (bits - 1) - 1)


def extreme_passes(work: Reduction, dtype: str, is_max: bool) -> str:
    """Write the pass that finds the extreme; return the name of the result per row."""
    kernel, kind = work.kernel, compute_type(dtype)
    held = "int32" if kind in ("bool", "uint8") else kind
    sign, name = (">", "max") if is_max else ("<", "min")
    work.start("best", identity(dtype, is_max), held)
    if kind in FLOATS:
        work.start("nan", "0", "int32")
    with work.columns_loop() as element:
        x = kernel.convert(element, held).text
        kernel.line(f"best = tl.where(mask & ({x} {sign} best), {x}, best)")
        if kind in FLOATS:
            kernel.line(f"nan = tl.where(mask & ({x} != {x}), 1, nan)")
    kernel.line(f"top = tl.{name}(best, axis=1)")
    if kind in FLOATS:
        kernel.line("has_nan = tl.max(nan, axis=1) != 0")
        kernel.line('whole = tl.where(has_nan, float("nan"), top)')
        return "whole"
    return "top"


def extreme(
    low: Lowering, source: Value, dims: Sequence[int], shape: tuple[Size, ...], is_max: bool
) -> Value:
    """Return the largest or smallest element over dimensions; NaN where there is one."""
    work = Reduction(low, source, dims)
    name = extreme_passes(work, source.dtype, is_max)
    return work.finish(f"{name} != 0" if source.dtype == "bool" else name, shape, source.dtype)


def arg_extreme(
    low: Lowering, source: Value, dims: Sequence[int], shape: tuple[Size, ...], is_max: bool
) -> Value:
    """Return the number of the first extreme, or of the first NaN."""
    work = Reduction(low, source, dims)
    extreme_passes(work, source.dtype, is_max)
    kernel, kind = work.kernel, compute_type(source.dtype)
    work.start("place", "9223372036854775807", "int64")
    with work.columns_loop() as element:
        x = kernel.convert(element, "int32" if kind in ("bool", "uint8") else kind).text
        hit = f"{x} == top[:, None]"
        if kind in FLOATS:
            hit = f"tl.where(has_nan[:, None], {x} != {x}, {hit})"
        kernel.line(f"place = tl.where(mask & ({hit}) & (col < place), col, place)")
    return work.finish("tl.min(place, axis=1)", shape, "int64")


def _extreme(is_max: bool) -> Callable[[Lowering, Any], Value]:
    def rule(low: Lowering, node: Any) -> Value:
        source, fake = low.value(node.args[0]), node.meta["val"]
        return extreme(low, source, _dims(low, node, source), sizes_of(fake.shape), is_max)

    return rule


def _arg_extreme(is_max: bool) -> Callable[[Lowering, Any], Value]:
    def rule(low: Lowering, node: Any) -> Value:
        source, fake = low.value(node.args[0]), node.meta["val"]
        return arg_extreme(low, source, _dims(low, node, source), sizes_of(fake.shape), is_max)

    return rule


def _extreme_pair(is_max: bool) -> Callable[[Lowering, Any], list[Value]]:
    def rule(low: Lowering, node: Any) -> list[Value]:
        source, (values, _) = low.value(node.args[0]), node.meta["val"]
        dims, shape = [low.arg(node.args[1])], sizes_of(values.shape)
        return [
            extreme(low, source, dims, shape, is_max),
            arg_extreme(low, source, dims, shape, is_max),
        ]

    return rule


def _var(low: Lowering, node: Any) -> Value:
    source, fake = low.value(node.args[0]), node.meta["val"]
    dtype = dtype_of(fake)
    correction = low.arg(node.args[2]) if len(node.args) > 2 else node.kwargs.get("correction", 1)
    work = Reduction(low, source, _dims(low, node, source))
    kernel = work.kernel
    held = accumulator(low, source.dtype)
    if held == "int64":
        raise UnsupportedError("a variance of integers")
    work.start("acc", "0", held)
    with work.columns_loop() as element:
        kernel.line(f"acc += tl.where(mask, {kernel.convert(element, held).text}, 0.0)")
    kernel.line(f"mean = tl.sum(acc, axis=1) / {work.column_count}")
    work.start("square", "0", held)
    with work.columns_loop() as element:
        kernel.line(
            f"gap = tl.where(mask, {kernel.convert(element, held).text} - mean[:, None], 0.0)"
        )
        kernel.line("square += gap * gap")
    shift = low.operand(kernel, correction).text
    kernel.line(f"left = {work.column_count} - {shift}")
    kernel.line("freedom = tl.where(left > 0.0, left, 0.0)")
    return work.finish("tl.sum(square, axis=1) / freedom", sizes_of(fake.shape), dtype)


RULES: dict[str, Callable[..., Any]] = {
    "prims.sum": _sum,
    "aten.sum": _sum,
    "prims.prod": _prod,
    "aten.prod": _prod,
    "prims.amax": _extreme(True),
    "prims.amin": _extreme(False),
    "aten.amax": _extreme(True),
    "aten.amin": _extreme(False),
    "aten.max.dim": _extreme_pair(True),
    "aten.min.dim": _extreme_pair(False),
    "aten.max": _extreme(True),
    "aten.min": _extreme(False),
    "aten.argmax": _arg_extreme(True),
    "aten.argmin": _arg_extreme(False),
    "prims.var": _var,
}

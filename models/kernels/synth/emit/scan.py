"""Running sums and products along a dimension: blocks of columns with a carry per row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import Reduction, accumulator
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index
from models.kernels.synth.lower import Lowering, Value, dtype_of


def _scan(is_sum: bool) -> Callable[[Lowering, Any], Value]:
    def rule(low: Lowering, node: Any) -> Value:
        source, dtype = low.value(node.args[0]), dtype_of(node.meta["val"])
        if not source.shape:
            return low.pointwise(
                (),
                dtype,
                lambda kernel, index: kernel.convert(source.at(kernel, index), dtype),
                [source],
            )
        return scanned(low, source, low.arg(node.args[1]) % len(source.shape), dtype, is_sum)

    return rule


def scanned(low: Lowering, source: Value, dim: int, dtype: str, is_sum: bool) -> Value:
    """Return the running sum or product along a dimension; in memory where it is the last one."""
    shape = source.shape
    work = Reduction(low, source, [dim])
    kernel = work.kernel
    held = accumulator(low, dtype)
    last = (*(shape[d] for d in work.kept), shape[dim])
    stored_as = low.held_type(dtype)
    name = low.out.allocate(low.host.shape(last), stored_as)
    target = kernel.pointer(name, stored_as)
    kernel.line(f"carry = tl.full((ROWS, 1), {0 if is_sum else 1}, dtype=tl.{held})")
    with work.columns_loop() as element:
        whole = kernel.convert(element, held).text
        neutral = 0 if is_sum else 1
        kernel.line(f"x = tl.where(mask, {whole}, {neutral})")
        if is_sum:
            kernel.line("run = tl.cumsum(x, axis=1) + carry")
            kernel.line("carry += tl.sum(x, axis=1)[:, None]")
        else:
            kernel.helpers.add("_times")
            kernel.line("run = tl.associative_scan(x, 1, _times) * carry")
            kernel.line("carry = carry * tl.reduce(x, 1, _times)[:, None]")
        kernel.line(f"tl.store({target} + row * {work.column_count} + col, run, mask=mask)")
    header = [
        "line = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)",
        "row = line[:, None]",
    ]
    columns, rows = low.host.text(work.columns), low.host.text(work.rows)
    low.launch(
        kernel,
        header,
        work.rows * work.columns,
        {
            "ROWS": f"_rows({rows}, {columns})",
            "COLS": f"_columns({columns})",
            "GRID": f"(triton.cdiv({rows}, _rows({rows}, {columns})),)",
        },
    )
    stored = low.buffer(name, last, dtype, stored_as)
    return _moved_back(low, stored, dim, shape)


def _moved_back(low: Lowering, stored: Value, dim: int, shape: tuple[Any, ...]) -> Value:
    """Return a value whose last dimension goes back to its place."""
    if dim == len(shape) - 1:
        return reshaped(low, stored, shape)

    def load(kernel: Kernel, index: Index) -> Var:
        return stored.at(kernel, (*index[:dim], *index[dim + 1 :], index[dim]))

    return low.pointwise(shape, stored.dtype, load, [stored])


RULES: dict[str, Callable[..., Any]] = {"aten.cumsum": _scan(True), "aten.cumprod": _scan(False)}

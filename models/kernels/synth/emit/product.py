"""Matrix products, as sums over a lazily multiplied dimension: right for every element type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import summed
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS


def contracted(
    low: Lowering, left: Value, right: Value, batch: int, dtype: str, shape: tuple[Any, ...]
) -> Value:
    """Return sum_k left[.., i, k] right[.., k, j] with `batch` leading dimensions.

    Integers are multiplied in int64; halves in float32, as ATen does.
    """
    rows, inner, columns = left.shape[-2], left.shape[-1], right.shape[-1]
    held = "int64" if dtype not in FLOATS else dtype

    def load(kernel: Kernel, index: Index) -> Var:
        lead, (i, j, k) = index[:batch], index[batch:]
        a = kernel.convert(left.at(kernel, (*lead, i, k)), held)
        b = kernel.convert(right.at(kernel, (*lead, k, j)), held)
        return kernel.let(f"{a.text} * {b.text}", a.dtype)

    whole = low.pointwise((*left.shape[:batch], rows, columns, inner), held, load, [left, right])
    return summed(low, whole, [batch + 2], shape, dtype)


def _mm(low: Lowering, node: Any) -> Value:
    left, right, fake = low.value(node.args[0]), low.value(node.args[1]), node.meta["val"]
    return contracted(low, left, right, len(left.shape) - 2, dtype_of(fake), sizes_of(fake.shape))


def _vector(low: Lowering, node: Any) -> Value:
    """Mv and dot: sums over the last dimension of the left operand."""
    left, right, fake = low.value(node.args[0]), low.value(node.args[1]), node.meta["val"]
    dtype = dtype_of(fake)
    held = "int64" if dtype not in FLOATS else dtype

    def load(kernel: Kernel, index: Index) -> Var:
        a = kernel.convert(left.at(kernel, index), held)
        b = kernel.convert(right.at(kernel, index[-1:]), held)
        return kernel.let(f"{a.text} * {b.text}", a.dtype)

    whole = low.pointwise(left.shape, held, load, [left, right])
    return summed(low, whole, [-1], sizes_of(fake.shape), dtype)


RULES: dict[str, Callable[..., Any]] = {
    "aten.mm": _mm,
    "aten.bmm": _mm,
    "aten.mv": _vector,
    "aten.dot": _vector,
    "aten.vdot": _vector,
}

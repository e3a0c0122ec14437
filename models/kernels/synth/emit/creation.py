"""Constants, ranges and copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import HALVES
from models.kernels.synth.scalar import UnsupportedError


def constant(low: Lowering, node: Any, value: Any) -> Value:
    """Return a value with one number in every element."""
    fake = node.meta["val"]
    dtype = dtype_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        number = low.operand(kernel, value)
        if dtype == "bool":
            truth = Var(str(bool(value)), "bool", is_scalar=True)
            return kernel.block(truth, "bool")
        element = kernel.block(Var(_plain(number.text), number.dtype, is_scalar=True), dtype)
        return kernel.convert(element, dtype) if dtype in HALVES else element

    return low.pointwise(sizes_of(fake.shape), dtype, load, [])


def _plain(text: str) -> str:
    return {"True": "1", "False": "0"}.get(text, text)


def _full(low: Lowering, node: Any) -> Value:
    return constant(low, node, low.arg(node.args[1]))


def _scalar_tensor(low: Lowering, node: Any) -> Value:
    return constant(low, node, low.arg(node.args[0]))


def _zero(low: Lowering, node: Any) -> Value:
    return constant(low, node, 0)


def _one(low: Lowering, node: Any) -> Value:
    return constant(low, node, 1)


def _copy(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    if source.dtype.startswith("complex"):
        # Complex values are results already in memory: no argument is one.
        return source
    return low.pointwise(source.shape, source.dtype, source.at, [source], source)


def _into(low: Lowering, node: Any) -> Value:
    """copy_(target, source): later uses of the target see the source, in the target's type."""
    if _is_view(node.args[0]):
        if not _changes_an_argument_only(node):
            raise UnsupportedError("a copy into a view, which changes another tensor")
        # In functional form arguments stay as they are: a buffer's update is no result.
        return low.value(node.args[1])
    target, source = low.value(node.args[0]), low.value(node.args[1])
    from models.kernels.synth.emit.pointwise import broadcast_index

    def load(kernel: Kernel, index: Index) -> Var:
        return kernel.convert(source.at(kernel, broadcast_index(index, source.shape)), target.dtype)

    result = low.pointwise(target.shape, target.dtype, load, [source])
    low.env[node.args[0]] = result
    return result


def _changes_an_argument_only(node: Any) -> bool:
    """Whether a copy goes into an argument, or a view of one, that nothing reads afterwards."""
    root = node.args[0]
    while root.op == "call_function" and _is_view(root):
        root = root.args[0]
    if root.op != "placeholder" or node.users:
        return False
    later, derived = False, {root}
    for other in node.graph.nodes:
        reads = derived.intersection(other.all_input_nodes)
        if other is node:
            later = True
        elif reads and other.op == "call_function" and _is_view(other):
            derived.add(other)
        elif reads and later and "copy_" not in str(other.target):
            return False
    return True


def _is_view(node: Any) -> bool:
    """Whether a node's tensor may share memory with another one."""
    from models.kernels.synth.emit.slices import RULES as SLICES
    from models.kernels.synth.emit.views import RULES as VIEWS

    return node.op == "placeholder" or str(node.target).rsplit(".", 1)[0] in {**VIEWS, **SLICES}


def _iota(low: Lowering, node: Any) -> Value:
    fake = node.meta["val"]
    dtype = dtype_of(fake)
    start, step = low.arg(node.kwargs["start"]), low.arg(node.kwargs["step"])

    def load(kernel: Kernel, index: Index) -> Var:
        at = index[0] if index[0] != "0" else kernel.zero()
        first, by = (low.operand(kernel, one).text for one in (start, step))
        return kernel.convert(kernel.line_of(at, by, first), dtype)

    return low.pointwise(sizes_of(fake.shape), dtype, load, [])


RULES: dict[str, Callable[..., Any]] = {
    "prims.full": _full,
    "aten.full": _full,
    "prims.full_like": _full,
    "aten.full_like": _full,
    "aten.fill": _full,
    "prims.fill": _full,
    "prims.scalar_tensor": _scalar_tensor,
    "aten.scalar_tensor": _scalar_tensor,
    "aten.zeros": _zero,
    "aten.zeros_like": _zero,
    "aten.ones": _one,
    "aten.ones_like": _one,
    "aten.new_zeros": _zero,
    "aten.empty": _zero,
    "aten.empty_like": _zero,
    "aten.empty_strided": _zero,
    "prims.empty_strided": _zero,
    "prims.empty_permuted": _zero,
    "aten.empty_permuted": _zero,
    "aten.new_empty": _zero,
    "aten.new_empty_strided": _zero,
    "prims.clone": _copy,
    "aten.clone": _copy,
    "aten.lift_fresh": _copy,
    "prims.device_put": _copy,
    "prims.copy_to": _into,
    "aten.copy_": _into,
    "aten.copy": _into,
    "prims.iota": _iota,
}

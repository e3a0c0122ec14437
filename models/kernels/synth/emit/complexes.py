"""Complex results: pairs of real and imaginary part in memory, which the wrapper views as complex.

Kernels compute with the parts; complex arguments have no rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index
from models.kernels.synth.lower import Load, Lowering, Value, sizes_of
from models.kernels.synth.promotion import FLOATS
from models.kernels.synth.scalar import UnsupportedError, apply

PARTS = {"complex32": "float16", "complex64": "float32", "complex128": "float64"}
"""Type of the parts by complex type."""


def parts_of(fake: Any) -> str:
    """Return the type of the parts of a complex fake tensor.

    Raises:
        UnsupportedError: It is not complex.
    """
    name = str(fake.dtype).removeprefix("torch.")
    if name not in PARTS:
        raise UnsupportedError(f"parts of {name}, which is not complex")
    return PARTS[name]


def viewed(low: Lowering, pairs: Value, dtype: str) -> Value:
    """Return stored pairs as a complex tensor."""
    name = f"{pairs.tensor}c"
    low.out.lines.append(f"{name} = torch.view_as_complex({pairs.tensor})")

    def load(kernel: Kernel, index: Index) -> Var:
        raise UnsupportedError("arithmetic on complex values")

    return low.keep(Value(pairs.shape[:-1], dtype, load, tensor=name, is_dense=True))


def paired(low: Lowering, node: Any, real: Load, imaginary: Load, read: list[Value]) -> Value:
    """Return a complex tensor from what loads its parts."""
    fake = node.meta["val"]
    kind = parts_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        place = index[-1]
        first, second = (
            kernel.convert(kernel.block(part(kernel, index[:-1]), kind), kind)
            for part in (real, imaginary)
        )
        return kernel.let(f"tl.where({place} == 0, {first.text}, {second.text})", first.dtype)

    whole = low.pointwise((*sizes_of(fake.shape), 2), kind, load, read)
    return viewed(low, low.store(whole), str(fake.dtype).removeprefix("torch."))


def _nothing(kernel: Kernel, index: Index) -> Var:
    return Var("0.0", "float32", is_scalar=True)


def converted(low: Lowering, node: Any) -> Value:
    """Return a real value as a complex one."""
    source = low.value(node.args[0])
    return paired(low, node, source.at, _nothing, [source])


def _operands(low: Lowering, node: Any) -> tuple[list[Value], list[Load]]:
    parts = [low.value(one) for one in node.args[:2]]

    def of(part: Value) -> Load:
        return lambda kernel, index: part.at(kernel, broadcast_index(index, part.shape))

    return parts, [of(part) for part in parts]


def _complex(low: Lowering, node: Any) -> Value:
    parts, (real, imaginary) = _operands(low, node)
    return paired(low, node, real, imaginary, parts)


def _polar(low: Lowering, node: Any) -> Value:
    parts, (size, angle) = _operands(low, node)

    def along(name: str) -> Load:
        def load(kernel: Kernel, index: Index) -> Var:
            wide = kernel.convert(angle(kernel, index), "float64")
            turned = apply(kernel, name, [wide], "float64")
            length = kernel.convert(size(kernel, index), "float64")
            return kernel.let(f"{length.text} * {turned.text}", "float64")

        return load

    return paired(low, node, along("cos"), along("sin"), parts)


def _angle(low: Lowering, node: Any) -> Value:
    """0 or pi by the sign; NaN stays."""
    source, fake = low.value(node.args[0]), node.meta["val"]
    dtype = str(fake.dtype).removeprefix("torch.")

    def load(kernel: Kernel, index: Index) -> Var:
        element = source.at(kernel, index)
        if element.dtype == "bool":
            element = kernel.convert(element, "int32")
        kind = "float64" if dtype == "float64" else "float32"
        below = kernel.let(f"tl.where({element.text} < 0, 3.141592653589793, 0.0)", kind)
        if element.dtype not in FLOATS:
            return kernel.convert(below, dtype)
        x = element.text
        return kernel.convert(kernel.let(f"tl.where({x} == {x}, {below.text}, {x})", kind), dtype)

    return low.pointwise(sizes_of(fake.shape), dtype, load, [source])


RULES: dict[str, Callable[..., Any]] = {
    "aten.complex": _complex,
    "aten.polar": _polar,
    "aten.angle": _angle,
}

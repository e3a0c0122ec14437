"""Elementwise primitives: operands are broadcast, the scalar rule writes the line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.promotion import FLOATS, HALVES, widest
from models.kernels.synth.scalar import apply, rule_names

_NUMBER_WORDS = ("Scalar", "Tensor", "default", "self", "Scalar_Self")


def broadcast_index(index: Index, shape: tuple[Size, ...]) -> Index:
    """Return the index into an operand that broadcasts to a longer or wider shape."""
    own = index[len(index) - len(shape) :]
    return tuple("0" if is_one(size) else place for place, size in zip(own, shape, strict=True))


def elementwise(name: str) -> Callable[[Lowering, Any], Value]:
    """Return the rule of an elementwise primitive."""

    def rule(low: Lowering, node: Any) -> Value:
        fake = node.meta["val"]
        dtype, shape = dtype_of(fake), sizes_of(fake.shape)
        operands = [_wide(low, low.arg(one), shape) for one in node.args]
        parts = [one for one in operands if isinstance(one, Value)]

        def load(kernel: Kernel, index: Index) -> Var:
            listed = [
                one.at(kernel, broadcast_index(index, one.shape))
                if isinstance(one, Value)
                else low.operand(kernel, one)
                for one in operands
            ]
            result = apply(kernel, name, _promoted(kernel, name, listed), dtype)
            return settled(low, kernel, result, dtype)

        return low.pointwise(shape, dtype, load, parts)

    return rule


def _wide(low: Lowering, operand: Any, shape: tuple[Size, ...]) -> Any:
    """Return an argument that is broadcast as one of the result's shape; others as they are."""
    if not isinstance(operand, Value) or tuple(operand.shape) == shape:
        return operand
    return low.wide(operand, shape) or operand


def _promoted(kernel: Kernel, name: str, listed: list[Var]) -> list[Var]:
    """Return operands of one type where the primitive mixes them."""
    tensors = [one for one in listed if not one.is_scalar]
    kinds = {one.dtype for one in (tensors[1:] if name == "where" else tensors)}
    if len(kinds) < 2:
        return listed
    wide = widest(kinds)
    skip = 1 if name == "where" else 0
    return [
        one if one.is_scalar or place < skip else kernel.convert(one, wide)
        for place, one in enumerate(listed)
    ]


def settled(low: Lowering, kernel: Kernel, result: Var, dtype: str) -> Var:
    """Return a result in the type it is held in; halves are rounded where the schedule says so."""
    if dtype in HALVES and not low.round_between and result.dtype == "float32":
        return result
    return kernel.convert(result, dtype)


def _convert(low: Lowering, node: Any) -> Value:
    fake = node.meta["val"]
    if fake.dtype.is_complex:
        from models.kernels.synth.emit.complexes import converted

        return converted(low, node)
    source = low.value(node.args[0])
    dtype = dtype_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        element = source.at(kernel, index)
        if dtype in HALVES and not low.round_between and element.dtype in FLOATS:
            return kernel.block(element)
        return kernel.convert(element, dtype)

    is_rounded = low.round_between and source.dtype in HALVES
    is_stored_so = dtype == source.dtype or (
        {dtype, source.dtype} <= {*FLOATS} and not (is_rounded and dtype not in HALVES)
    )
    origin = source if is_stored_so else None
    return low.pointwise(sizes_of(fake.shape), dtype, load, [source], origin)


def _pow_scalar(low: Lowering, node: Any) -> Value:
    """A small whole exponent is a product, as ATen computes it."""
    exponent = low.arg(node.args[1])
    if exponent not in (2, 3, 2.0, 3.0):
        return elementwise("pow")(low, node)
    source, fake = low.value(node.args[0]), node.meta["val"]
    dtype = dtype_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        x = source.at(kernel, index).text
        kind = source.at(kernel, index).dtype
        result = kernel.let(" * ".join([x] * int(exponent)), kind)
        return settled(low, kernel, result, dtype)

    return low.pointwise(sizes_of(fake.shape), dtype, load, [source])


def _polygamma(low: Lowering, node: Any) -> Value:
    """(-1)^(n+1) n! zeta(n + 1, x), n from 1 on (DLMF 25.11.12)."""
    import math

    order, source = low.arg(node.args[0]), low.value(node.args[1])
    fake = node.meta["val"]
    dtype = dtype_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        x = kernel.convert(source.at(kernel, index), "float64" if dtype == "float64" else "float32")
        if order == 0:
            return kernel.convert(apply(kernel, "digamma", [x], dtype), dtype)
        if order == 1 and dtype != "float64":
            kernel.helpers.add("_trigamma_single")
            return kernel.convert(kernel.let(f"_trigamma_single({x.text})", "float64"), dtype)
        s = Var(repr(order + 1.0), "float32", is_scalar=True)
        factor = math.factorial(order) * (-1.0) ** (order + 1)
        zeta = apply(kernel, "zeta", [s, x], dtype)
        return kernel.convert(kernel.let(f"{zeta.text} * ({factor})", "float32"), dtype)

    return low.pointwise(sizes_of(fake.shape), dtype, load, [source])


def _clamp(low: Lowering, node: Any) -> Value:
    source, fake = low.value(node.args[0]), node.meta["val"]
    bounds = [low.arg(one) for one in (*node.args[1:], *([None] * (3 - len(node.args))))]
    for place, name in ((0, "min"), (1, "max")):
        if name in node.kwargs:
            bounds[place] = low.arg(node.kwargs[name])
    dtype = dtype_of(fake)

    def load(kernel: Kernel, index: Index) -> Var:
        value = source.at(kernel, index)
        for bound, name in zip(bounds[:2], ("maximum", "minimum"), strict=True):
            if bound is None:
                continue
            limit = (
                bound.at(kernel, broadcast_index(index, bound.shape))
                if isinstance(bound, Value)
                else low.operand(kernel, bound)
            )
            value = apply(kernel, name, [value, limit], dtype)
        return value

    return low.pointwise(sizes_of(fake.shape), dtype, load, [source])


def _rules() -> dict[str, Callable[..., Any]]:
    rules: dict[str, Callable[..., Any]] = {}
    for name in rule_names():
        rules[f"prims.{name}"] = elementwise(name)
        rules[f"aten.{name}"] = elementwise(name)
    rules["prims.convert_element_type"] = _convert
    rules["aten.pow.Tensor_Scalar"] = _pow_scalar
    rules["aten.polygamma"] = _polygamma
    rules["aten.special_polygamma"] = _polygamma
    rules["aten.clamp"] = _clamp
    return rules


RULES = _rules()

"""Special functions of the device library, which computes them in double precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of

_FUNCTIONS = {
    "airy_ai": "_airy_ai",
    "bessel_j0": "_bessel_j0",
    "bessel_j1": "_bessel_j1",
    "bessel_y0": "_bessel_y0",
    "bessel_y1": "_bessel_y1",
    "modified_bessel_i0": "_bessel_i0",
    "modified_bessel_i1": "_bessel_i1",
    "modified_bessel_k0": "_bessel_k0",
    "modified_bessel_k1": "_bessel_k1",
    "scaled_modified_bessel_k0": "_bessel_k0_scaled",
    "scaled_modified_bessel_k1": "_bessel_k1_scaled",
    "spherical_bessel_j0": "_spherical_j0",
    "hermite_polynomial_h": "_hermite_h",
    "hermite_polynomial_he": "_hermite_he",
    "laguerre_polynomial_l": "_laguerre_l",
    "legendre_polynomial_p": "_legendre_p",
    **{
        f"{shift}chebyshev_polynomial_{kind}": f"_{shift}chebyshev_{kind}"
        for shift in ("", "shifted_")
        for kind in "tuvw"
    },
    "igamma": "_gamma_p",
    "igammac": "_gamma_q",
    "gammainc": "_gamma_p",
    "gammaincc": "_gamma_q",
}
"""Device function by primitive, without the prefix `special_`."""

_SINGLE = {"_hermite_he": "_hermite_he_single"}
"""Functions whose float32 results on ATen show the rounding of every step."""


def _function(double: str) -> Callable[[Lowering, Any], Value]:
    """Return the rule of a function of one or two operands, tensors or numbers."""

    def rule(low: Lowering, node: Any) -> Value:
        fake = node.meta["val"]
        dtype = dtype_of(fake)
        name = double if dtype == "float64" else _SINGLE.get(double, double)
        operands = [low.arg(one) for one in node.args]
        parts = [one for one in operands if isinstance(one, Value)]

        def load(kernel: Kernel, index: Index) -> Var:
            wide = []
            for one in operands:
                if isinstance(one, Value):
                    element = one.at(kernel, broadcast_index(index, one.shape))
                    wide.append(kernel.convert(element, "float64").text)
                else:
                    wide.append(kernel.block(low.operand(kernel, one), "float64").text)
            kernel.helpers.add(name)
            whole = ", ".join(wide)
            return kernel.convert(kernel.let(f"{name}({whole})", "float64"), dtype)

        return low.pointwise(sizes_of(fake.shape), dtype, load, parts)

    return rule


def _frexp(low: Lowering, node: Any) -> list[Value]:
    """Split into mantissa in [1/2, 1) and exponent of 2; 0, infinities and NaN as they are."""
    source, (fake, exponents) = low.value(node.args[0]), node.meta["val"]

    def part(function: str, kind: str, dtype: str) -> Value:
        def load(kernel: Kernel, index: Index) -> Var:
            wide = kernel.convert(source.at(kernel, index), "float64").text
            kernel.helpers.add(function)
            return kernel.convert(kernel.let(f"{function}({wide})", kind), dtype)

        return low.pointwise(source.shape, dtype, load, [source])

    return [
        part("_mantissa", "float64", dtype_of(fake)),
        part("_exponent", "int64", dtype_of(exponents)),
    ]


RULES: dict[str, Callable[..., Any]] = {
    f"{prefix}{name}": _function(function)
    for name, function in _FUNCTIONS.items()
    for prefix in ("prims.", "aten.", "aten.special_")
} | {"prims.frexp": _frexp, "aten.frexp": _frexp}

"""Rules of pointwise primitives: from operands to one line of a kernel."""

from __future__ import annotations

import re
from collections.abc import Callable

from models.errors import ConfigError
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.promotion import FLOATS, compute_type, widest

Rule = Callable[[Kernel, list[Var], str], Var]


class UnsupportedError(ConfigError):
    """No rule writes this operator, type or form."""


_NEGATIVE = re.compile(r"\(-(\d+)\)")
_UNARY_TL = {
    name: f"tl.{name}"
    for name in ("exp", "exp2", "log", "log2", "cos", "sin", "sqrt", "floor", "ceil", "erf")
}
_DOUBLE = {
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cosh",
    "digamma",
    "erfc",
    "erfcx",
    "erf_inv",
    "expm1",
    "lgamma",
    "log10",
    "log1p",
    "ndtri",
    "sinh",
    "tan",
    "tanh",
    "bessel_i0",
    "bessel_i0e",
    "bessel_i1",
    "bessel_i1e",
    "log_ndtr",
}
"""Unary functions of the device library, which computes them in double precision."""
_DOUBLE_BINARY = {"atan2", "pow", "fmod", "remainder", "hypot", "zeta"}
_ALIASES = {
    "special_i0": "bessel_i0",
    "i0": "bessel_i0",
    "special_i0e": "bessel_i0e",
    "special_i1": "bessel_i1",
    "special_i1e": "bessel_i1e",
    "special_ndtri": "ndtri",
    "special_erfcx": "erfcx",
    "special_zeta": "zeta",
    "special_log_ndtr": "log_ndtr",
    "logical_not": "not",
    "erfinv": "erf_inv",
    "sgn": "sign",
}
_COMPARE = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
_SHIFTS = {"shift_left": "<<", "shift_right_arithmetic": ">>"}


def apply(kernel: Kernel, name: str, operands: list[Var], dtype: str) -> Var:
    """Write one primitive.

    Args:
        kernel: What is written to.
        name: Primitive, as torch's prims name it.
        operands: Its tensor and number operands.
        dtype: Type of the result as torch has it.

    Raises:
        UnsupportedError: There is no rule for it.
    """
    name = _ALIASES.get(name, name)
    kind = _operand_type(operands[1:] if name == "where" else operands)
    values = [
        kernel.block(one, kind) if one.is_scalar and _needs_block(name, operands) else one
        for one in operands
    ]
    texts = [one.text for one in values]
    if name in _UNARY_TL and kind in FLOATS:
        return kernel.let(f"{_UNARY_TL[name]}({texts[0]})", kind)
    if name in ("floor", "ceil", "trunc", "round") and kind not in FLOATS:
        return values[0]
    if (name in _DOUBLE or name in _DOUBLE_BINARY) and kind in FLOATS:
        return _library(kernel, name, values, kind)
    if name in _COMPARE:
        return _compare(kernel, name, values, kind)
    if name in _BITS:
        return kernel.let(f"{texts[0]} {_BITS[name]} {texts[1]}", kind)
    if name in _SHIFTS:
        return _shift(kernel, name, texts, kind)
    rule = _RULES.get(name)
    if rule is None:
        raise UnsupportedError(f"no scalar rule for '{name}' of {kind}; add one to synth/scalar.py")
    return rule(kernel, values, kind)


def _operand_type(operands: list[Var]) -> str:
    blocks = [one.dtype for one in operands if not one.is_scalar]
    return compute_type(blocks[-1] if blocks else widest(one.dtype for one in operands))


def _needs_block(name: str, operands: list[Var]) -> bool:
    return (
        all(one.is_scalar for one in operands)
        or name in _DOUBLE_BINARY
        or name in ("where", "fmax", "fmin", "maximum", "minimum", "copysign")
    )


def _library(kernel: Kernel, name: str, values: list[Var], kind: str) -> Var:
    wide = [
        one if one.dtype == "float64" else kernel.let(f"{one.text}.to(tl.float64)", "float64")
        for one in values
    ]
    kernel.helpers.add(f"_{name}")
    result = kernel.let(f"_{name}({', '.join(one.text for one in wide)})", "float64")
    return result if kind == "float64" else kernel.let(f"{result.text}.to(tl.float32)", "float32")


def _compare(kernel: Kernel, name: str, values: list[Var], kind: str) -> Var:
    left, right = (_as_integer(kernel, one) for one in values)
    return kernel.let(f"{left} {_COMPARE[name]} {right}", "bool")


def _as_integer(kernel: Kernel, value: Var) -> str:
    if value.dtype == "bool" and not value.is_scalar:
        return kernel.let(f"{value.text}.to(tl.int32)", "int32").text
    return {"True": "1", "False": "0"}.get(value.text, value.text)


def _shift(kernel: Kernel, name: str, texts: list[str], kind: str) -> Var:
    bits = {"uint8": 8, "int8": 8, "int16": 16, "int32": 32, "int64": 64}[kind]
    fits = f"({texts[1]} >= 0) & ({texts[1]} < {bits})"
    amount = kernel.let(f"tl.where({fits}, {texts[1]}, 0)", kind).text
    done = kernel.let(f"{texts[0]} {_SHIFTS[name]} {amount}", kind).text
    beyond = "0" if name == "shift_left" else f"tl.where({texts[0]} < 0, -1, 0)"
    return kernel.let(f"tl.where({fits}, {done}, {beyond})", kind)


def _binary(sign: str, on_bool: str) -> Rule:
    def rule(kernel: Kernel, values: list[Var], kind: str) -> Var:
        if kind == "bool":
            return kernel.let(f"{values[0].text} {on_bool} {values[1].text}", "bool")
        left, right = (_wrapped(one, kind) for one in values)
        return kernel.let(f"{left} {sign} {right}", kind)

    return rule


def _wrapped(value: Var, kind: str) -> str:
    """Return an operand of sums and products; Triton takes no negative number beside uint8."""
    if kind == "uint8" and value.is_scalar and (found := _NEGATIVE.fullmatch(value.text)):
        return str(-int(found[1]) % 256)
    return value.text


def _div(kernel: Kernel, values: list[Var], kind: str) -> Var:
    sign = "/" if kind in FLOATS else "//"
    return kernel.let(f"{values[0].text} {sign} {values[1].text}", kind)


def _remainder(kernel: Kernel, values: list[Var], kind: str) -> Var:
    x, y = (kernel.block(one, kind).text for one in values)
    rest = kernel.let(f"{x} % {y}", kind).text
    return kernel.let(
        f"tl.where(({rest} != 0) & (({rest} < 0) != ({y} < 0)), {rest} + {y}, {rest})", kind
    )


def _fmod(kernel: Kernel, values: list[Var], kind: str) -> Var:
    return kernel.let(f"{values[0].text} % {values[1].text}", kind)


def _extreme(sign: str, keeps_nan: bool) -> Rule:
    def rule(kernel: Kernel, values: list[Var], kind: str) -> Var:
        if kind == "bool":
            return kernel.let(
                f"{values[0].text} {'|' if sign == '>' else '&'} {values[1].text}", kind
            )
        x, y = values[0].text, values[1].text
        nan = ""
        if kind in FLOATS:
            nan = f" | ({x} != {x})" if keeps_nan else f" | ({y} != {y})"
        return kernel.let(f"tl.where(({x} {sign} {y}){nan}, {x}, {y})", kind)

    return rule


def _unary(text: str, integer: str | None = None) -> Rule:
    def rule(kernel: Kernel, values: list[Var], kind: str) -> Var:
        chosen = text if kind in FLOATS or integer is None else integer
        return kernel.let(chosen.replace("X", values[0].text), kind)

    return rule


def _predicate(text: str, integer: str) -> Rule:
    def rule(kernel: Kernel, values: list[Var], kind: str) -> Var:
        value = values[0]
        if kind not in FLOATS:
            base = (
                "tl.full((1,), 1, dtype=tl.int32)"
                if kernel.rank == 1
                else "tl.full((1, 1), 1, dtype=tl.int32)"
            )
            return kernel.let(f"{base} == {integer}", "bool")
        return kernel.let(text.replace("X", value.text), "bool")

    return rule


def _where(kernel: Kernel, values: list[Var], kind: str) -> Var:
    x, y = values[1], values[2]
    kind = compute_type(x.dtype)
    if kind == "bool":
        whole = [kernel.let(f"{one.text}.to(tl.int32)", "int32").text for one in (x, y)]
        chosen = kernel.let(f"tl.where({values[0].text}, {whole[0]}, {whole[1]})", "int32").text
        return kernel.let(f"{chosen} != 0", "bool")
    return kernel.let(f"tl.where({values[0].text}, {x.text}, {y.text})", kind)


def _not(kernel: Kernel, values: list[Var], kind: str) -> Var:
    if kind == "bool":
        return kernel.let(f"{values[0].text}.to(tl.int32) == 0", "bool")
    return kernel.let(f"{values[0].text} == 0", "bool")


def _bitwise_not(kernel: Kernel, values: list[Var], kind: str) -> Var:
    return _not(kernel, values, kind) if kind == "bool" else kernel.let(f"~{values[0].text}", kind)


def _integer_pow(kernel: Kernel, values: list[Var], kind: str) -> Var:
    x, y = (kernel.block(one, kind).text for one in values)
    kernel.helpers.add("_integer_pow")
    return kernel.let(f"_integer_pow({x}, {y})", kind)


def _device(name: str) -> Rule:
    def rule(kernel: Kernel, values: list[Var], kind: str) -> Var:
        kernel.helpers.add(name)
        args = ", ".join(kernel.block(one, kind).text for one in values)
        return kernel.let(f"{name}({args})", kind)

    return rule


def _signbit(kernel: Kernel, values: list[Var], kind: str) -> Var:
    x = values[0].text
    if kind not in FLOATS:
        return kernel.let(f"{x} < 0", "bool")
    bits = "int64" if kind == "float64" else "int32"
    return kernel.let(f"{x}.to(tl.{bits}, bitcast=True) < 0", "bool")


def _copysign(kernel: Kernel, values: list[Var], kind: str) -> Var:
    minus = _signbit(kernel, [values[1]], kind).text
    size = kernel.let(f"tl.abs({values[0].text})", kind).text
    return kernel.let(f"tl.where({minus}, -{size}, {size})", kind)


def _heaviside(kernel: Kernel, values: list[Var], kind: str) -> Var:
    x, y = values[0].text, kernel.block(values[1], kind).text
    if kind == "bool":
        return kernel.let(f"{x} | {y}", "bool")
    return kernel.let(
        f"tl.where({x} == 0, {y}, tl.where({x} > 0, {x} * 0 + 1, {x} * 0))"
        if kind not in FLOATS
        else f"tl.where({x} == 0, {y}, tl.where({x} > 0, 1.0, 0.0))",
        kind,
    )


def _neg(kernel: Kernel, values: list[Var], kind: str) -> Var:
    return kernel.let(f"-{values[0].text}", kind)


_RULES: dict[str, Rule] = {
    "add": _binary("+", "|"),
    "sub": _binary("-", "^"),
    "mul": _binary("*", "&"),
    "div": _div,
    "remainder": _remainder,
    "fmod": _fmod,
    "maximum": _extreme(">", True),
    "minimum": _extreme("<", True),
    "fmax": _extreme(">", False),
    "fmin": _extreme("<", False),
    "where": _where,
    "not": _not,
    "bitwise_not": _bitwise_not,
    "neg": _neg,
    "heaviside": _heaviside,
    "abs": _unary("tl.abs(X)"),
    "reciprocal": _unary("1.0 / X"),
    "rsqrt": _unary("1.0 / tl.sqrt(X)"),
    "trunc": _unary("tl.where(X < 0, tl.ceil(X), tl.floor(X))"),
    "sign": _unary(
        "tl.where(X > 0, 1.0, tl.where(X < 0, -1.0, X * 0.0))",
        "tl.where(X > 0, 1, tl.where(X < 0, -1, X))",
    ),
    "isfinite": _predicate('tl.abs(X) < float("inf")', "1"),
    "isnan": _predicate("X != X", "0"),
    "isinf": _predicate('tl.abs(X) == float("inf")', "0"),
    "round": _device("_round_half_even"),
    "gcd": _device("_gcd"),
    "nextafter": _device("_nextafter"),
    "pow": _integer_pow,
    "signbit": _signbit,
    "copysign": _copysign,
}


def rule_names() -> frozenset[str]:
    """Return the primitives that have a rule."""
    return frozenset(
        {*_UNARY_TL, *_DOUBLE, *_DOUBLE_BINARY, *_COMPARE, *_BITS, *_SHIFTS, *_RULES, *_ALIASES}
    )

"""Small floats in numpy: bfloat16 and the 8-bit formats as Triton's interpreter holds them.

The interpreter keeps these types as unsigned integers and, in Triton 3.9, truncates where a
device rounds to nearest, ties to even (measured: 0.1 becomes 0.09961 instead of 0.10010).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[Any]

FP8 = {
    # name: exponent bits, mantissa bits, bias, is "fnuz" (one NaN, no minus zero), has infinity
    "fp8e5": (5, 2, 15, False, True),
    "fp8e4nv": (4, 3, 7, False, False),
    "fp8e5b16": (5, 2, 16, True, False),
    "fp8e4b8": (4, 3, 8, True, False),
}
"""Triton's 8-bit formats that hardware has (OCP 8-bit floating point specification; AMD fnuz)."""


def bf16_to_fp32(codes: Codes) -> NDArray[np.float32]:
    """Widen bfloat16 codes (uint16); exact."""
    return (codes.astype(np.uint32) << np.uint32(16)).view(np.float32)


def fp32_to_bf16(values: NDArray[Any], toward_zero: bool = False) -> NDArray[np.uint16]:
    """Narrow to bfloat16 codes, to nearest with ties to even; NaN stays a quiet NaN."""
    wide = np.ascontiguousarray(values, dtype=np.float32)
    bits = wide.view(np.uint32)
    if toward_zero:
        rounded = bits >> np.uint32(16)
    else:
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        rounded = (bits + np.uint32(0x7FFF) + odd) >> np.uint32(16)
    codes = np.where(np.isnan(wide), np.uint32(0x7FC0), rounded).astype(np.uint16)
    return codes.reshape(np.shape(values))


@lru_cache
def fp8_values(name: str) -> NDArray[np.float32]:
    """Return the value of all 256 codes of an 8-bit format.

    Raises:
        KeyError: The format is not in `FP8`.
    """
    exponent_bits, mantissa_bits, bias, is_fnuz, has_infinity = FP8[name]
    values = np.zeros(256, np.float32)
    top = (1 << exponent_bits) - 1
    for code in range(256):
        sign = -1.0 if code & 0x80 else 1.0
        exponent = (code >> mantissa_bits) & top
        fraction = (code & ((1 << mantissa_bits) - 1)) / (1 << mantissa_bits)
        if is_fnuz and code == 0x80:
            values[code] = np.nan
        elif has_infinity and exponent == top:
            values[code] = sign * np.inf if fraction == 0 else np.nan
        elif not is_fnuz and not has_infinity and code & 0x7F == 0x7F:
            values[code] = np.nan
        elif exponent == 0:
            values[code] = sign * fraction * 2.0 ** (1 - bias)
        else:
            values[code] = sign * (1 + fraction) * 2.0 ** (exponent - bias)
    return values


def fp32_to_fp8(values: NDArray[Any], name: str, toward_zero: bool = False) -> NDArray[np.uint8]:
    """Narrow to codes of an 8-bit format, to nearest with ties to even.

    A value beyond the largest saturates, as the converting instruction of a device does
    (PTX `cvt.rn.satfinite`); torch gives NaN or infinity there. NaN stays NaN.
    """
    table = fp8_values(name)
    positive = table[:128]
    finite = positive[np.isfinite(positive)]
    wide = np.asarray(values, dtype=np.float32)
    size = np.minimum(np.abs(np.nan_to_num(wide, posinf=np.inf)), finite[-1])
    above = np.searchsorted(finite, size, side="left")
    above = np.minimum(above, len(finite) - 1)
    below = np.maximum(above - 1, 0)
    to_above, to_below = finite[above] - size, size - finite[below]
    takes_below = (to_below < to_above) | ((to_below == to_above) & (below % 2 == 0))
    if toward_zero:
        takes_below = to_above > 0
    codes = np.where(takes_below, below, above).astype(np.uint8)
    is_fnuz = FP8[name][3]
    minus = np.signbit(wide) & ~((codes == 0) & is_fnuz)
    codes = np.where(minus, codes | np.uint8(0x80), codes)
    nan = np.flatnonzero(np.isnan(table))[0]
    return np.where(np.isnan(wide), np.uint8(nan), codes).astype(np.uint8)


def decode(codes: Codes, name: str) -> NDArray[np.float32]:
    """Widen codes of `bf16` or of an 8-bit format; exact."""
    return bf16_to_fp32(codes) if name == "bf16" else fp8_values(name)[codes]


def encode(values: NDArray[Any], name: str, toward_zero: bool = False) -> Codes:
    """Narrow float32 values to codes of `bf16` or of an 8-bit format."""
    if name == "bf16":
        return fp32_to_bf16(values, toward_zero)
    return fp32_to_fp8(values, name, toward_zero)


def is_coded(name: str) -> bool:
    """Whether the interpreter keeps a type as codes."""
    return name == "bf16" or name in FP8

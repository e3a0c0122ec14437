"""Types on the device: what a value is held in while a kernel computes with it."""

from __future__ import annotations

from collections.abc import Iterable

HALVES = frozenset({"float16", "bfloat16"})
FLOATS = frozenset({*HALVES, "float32", "float64"})

_ORDER = ("bool", "uint8", "int8", "int16", "int32", "int64", "float32", "float64")


def widest(dtypes: Iterable[str]) -> str:
    """Return the compute type that holds all of these: bool < integers < floats.

    Raises:
        ValueError: A type that no kernel computes in.
    """
    return max(dtypes, key=_ORDER.index)


def compute_type(dtype: str) -> str:
    """Return the type that a kernel holds a value in: float32 for halves (op-math of ATen)."""
    return "float32" if dtype in HALVES else dtype

"""Types on the device: what a value is held in while a kernel computes with it."""

from __future__ import annotations

HALVES = frozenset({"float16", "bfloat16"})
FLOATS = frozenset({*HALVES, "float32", "float64"})
INTEGERS = frozenset({"uint8", "int8", "int16", "int32", "int64"})

_CATEGORIES = ("bool", "integer", "float")
_DEFAULTS = ("bool", "int64", "float32")


def category(dtype: str) -> int:
    """Return the place of a type in the lattice bool < integer < float.

    Raises:
        KeyError: A type outside the lattice, complex ones among them.
    """
    if dtype == "bool":
        return 0
    if dtype in INTEGERS:
        return 1
    if dtype in FLOATS:
        return 2
    raise KeyError(dtype)


def compute_type(dtype: str) -> str:
    """Return the type that a kernel holds a value in: float32 for halves (op-math of ATen)."""
    return "float32" if dtype in HALVES else dtype


def with_scalar(dtype: str, scalar: bool | int | float) -> str:
    """Return the type of tensor (+) Python number: the number counts by its category alone.

    Source: torch.result_type of a dimensioned tensor and a Python scalar.
    """
    place = 0 if isinstance(scalar, bool) else 1 if isinstance(scalar, int) else 2
    return dtype if category(dtype) >= place else _DEFAULTS[place]

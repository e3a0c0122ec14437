"""Shapes of HLO values: dtype, dimensions, memory space; tuples of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

BITS = {
    "pred": 8, "token": 0, "opaque": 0, "u1": 1, "s1": 1, "u2": 2, "s2": 2, "u4": 4, "s4": 4,
    "u8": 8, "s8": 8, "u16": 16, "s16": 16, "u32": 32, "s32": 32, "u64": 64, "s64": 64, "f16": 16,
    "bf16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128, "f4e2m1fn": 4, "f6e2m3fn": 6,
    "f6e3m2fn": 6, "f8e5m2": 8, "f8e4m3": 8, "f8e4m3fn": 8, "f8e4m3b11fnuz": 8, "f8e5m2fnuz": 8,
    "f8e4m3fnuz": 8, "f8e3m4": 8, "f8e8m0fnu": 8,
}  # fmt: skip
"""Bits of an element, packed; a `pred` takes a byte. Source: xla/xla_data.proto."""
_ARRAY = re.compile(r"([a-z][a-z0-9]*)\[([0-9,<=?\s]*)\](\{[^{}]*\})?")
_SPACE = re.compile(r"S\((\d+)\)")
_SKIP = re.compile(r"(?:\s|,|/\*.*?\*/)*")


class ShapeError(ValueError):
    """A text is no shape; whoever knows the line adds it."""


@dataclass(frozen=True)
class Shape:
    """An array, or a tuple of shapes."""

    dtype: str
    """Element type; "tuple" for a tuple."""
    dims: tuple[int, ...] = ()
    space: int = 0
    """Memory space of the layout: 0 is HBM, on TPUs 1 is on the chip and 5 the host's."""
    parts: tuple[Shape, ...] = ()
    """Elements of a tuple."""

    @property
    def elements(self) -> int:
        """Number of elements of an array; 0 of a tuple."""
        return 0 if self.dtype == "tuple" else math.prod(self.dims)

    @property
    def size_bytes(self) -> float:
        """Bytes of the array, or of all arrays of the tuple; padding of layouts left out."""
        if self.dtype == "tuple":
            return sum(part.size_bytes for part in self.parts)
        return self.elements * BITS[self.dtype] / 8

    def arrays(self) -> Iterator[Shape]:
        """Yield the arrays, tuples opened."""
        if self.dtype != "tuple":
            yield self
        for part in self.parts:
            yield from part.arrays()


def shape_end(text: str, start: int) -> int:
    """Return where the shape that begins at `start` ends.

    Raises:
        ShapeError: A bracket is not closed, or no array begins there.
    """
    if text.startswith("(", start):
        end = closing(text, start)
        return end + 1
    found = _ARRAY.match(text, start)
    if not found:
        raise ShapeError(f"expected a shape like bf16[8,128]{{1,0}}, found '{text[start:][:40]}'")
    return found.end()


def closing(text: str, start: int) -> int:
    """Return the position of the bracket that closes the one at `start`; strings are skipped.

    Raises:
        ShapeError: The text ends first.
    """
    depth, place = 0, start
    for found in _BRACKET.finditer(text, start):
        sign, place = found.group(), found.start()
        if sign in "({[":
            depth += 1
        elif sign in ")}]":
            depth -= 1
            if depth == 0:
                return place
    raise ShapeError(f"'{text[start]}' at column {start + 1} is never closed")


_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[(){}\[\]]')


@lru_cache(maxsize=65_536)
def parse_shape(text: str) -> Shape:
    """Read one shape.

    Raises:
        ShapeError: The text is none, or its dtype is unknown.
    """
    shape, end = _parse(text, 0, 0)
    if _SKIP.sub("", text[end:]):
        raise ShapeError(f"expected the end of the shape, found '{text[end:][:40]}'")
    return shape


def _parse(text: str, start: int, depth: int) -> tuple[Shape, int]:
    if depth > 50:
        raise ShapeError("tuples are nested more than 50 deep")
    if text.startswith("(", start):
        parts, place = [], _after_space(text, start + 1)
        while not text.startswith(")", place):
            part, place = _parse(text, place, depth + 1)
            parts.append(part)
            place = _after_space(text, place)
        return Shape("tuple", parts=tuple(parts)), place + 1
    found = _ARRAY.match(text, start)
    if not found:
        raise ShapeError(f"expected a shape like bf16[8,128]{{1,0}}, found '{text[start:][:40]}'")
    dtype, sizes, layout = found.groups()
    if dtype not in BITS:
        raise ShapeError(f"no dtype named '{dtype}' is known; known: {', '.join(BITS)}")
    try:
        # A dynamic size is written <=8: its bound is what memory holds.
        dims = tuple(int(size.strip().removeprefix("<=")) for size in sizes.split(",") if size)
    except ValueError:
        raise ShapeError(f"expected sizes, found '{sizes[:40]}'") from None
    space = _SPACE.search(layout) if layout else None
    return Shape(dtype, dims, int(space.group(1)) if space else 0), found.end()


def _after_space(text: str, place: int) -> int:
    found = _SKIP.match(text, place)
    return found.end() if found else place

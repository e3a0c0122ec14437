"""Addresses: from element numbers to indices, offsets, and the indices behind views.

Sizes are symbolic: they reach a kernel as parameters, so no shape enters the source. All index
arithmetic is in 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.kernels.synth.expression import Kernel

Size = Any
"""int, or sympy expression of the call's sizes."""
Index = tuple[str, ...]
"""Kernel text of the index along each dimension; "0" where the size is 1."""


def is_one(size: Size) -> bool:
    """Whether a size is known to be 1."""
    return bool(size == 1)


def not_one(sizes: Sequence[Size]) -> list[Size]:
    """Return the sizes that are not known to be 1."""
    return [size for size in sizes if not is_one(size)]


def product(sizes: Sequence[Size]) -> Size:
    """Return the number of elements."""
    total: Size = 1
    for size in sizes:
        total = total * size
    return total


def split_number(kernel: Kernel, at: str, sizes: Sequence[Size], host: Any) -> Index:
    """Return the index of element number `at` of a dense tensor, last dimension fastest.

    Args:
        kernel: What is written to.
        at: Kernel text of the element number, at most the number of elements.
        sizes: Shape.
        host: Host text of a size.
    """
    index = ["0"] * len(sizes)
    open_dims = [place for place, size in enumerate(sizes) if not is_one(size)]
    left = at
    for place in reversed(open_dims):
        if place == open_dims[0]:
            index[place] = left
            break
        size = kernel.number(host(sizes[place]))
        index[place] = kernel.let(f"{left} % {size}", "int64").text
        left = kernel.let(f"{left} // {size}", "int64").text
        if kernel.is_place(at):
            kernel.places.update((index[place], left))
    kernel.numbers[_placed(index, sizes, host)] = at
    return tuple(index)


def _placed(index: Sequence[str], sizes: Sequence[Size], host: Any) -> tuple[tuple[str, str], ...]:
    """Return the places of an index with the text of their sizes, where there is a choice."""
    return tuple(
        (place, host(size)) for place, size in zip(index, sizes, strict=True) if not is_one(size)
    )


def number_of(kernel: Kernel, index: Index, sizes: Sequence[Size], host: Any) -> str:
    """Return the element number of an index into a dense tensor.

    Where a part of it came from splitting a number, it is that number.
    """
    places = _placed(index, sizes, host)
    known = next((n for n in range(len(places), 1, -1) if places[:n] in kernel.numbers), 0)
    number = kernel.numbers[places[:known]] if known else "0"
    for place, size in places[known:]:
        if number == "0":
            number = place
            continue
        scaled = f"{number} * {kernel.number(size)}"
        number = kernel.let(scaled if place == "0" else f"{scaled} + {place}", "int64").text
    return number


def strided_offset(kernel: Kernel, index: Index, tensor: str) -> str:
    """Return the element offset of an index into a tensor of the host with its own strides.

    Terms stand in the order of the index's names, not of its dimensions: kernels that differ in
    the order of dimensions alone have one text.
    """
    places = sorted((place, dim) for dim, place in enumerate(index) if place != "0")
    parts = [f"{place} * {kernel.number(f'{tensor}.stride({dim})')}" for place, dim in places]
    return kernel.let(" + ".join(parts), "int64").text if parts else "0"

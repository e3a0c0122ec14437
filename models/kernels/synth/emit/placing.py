"""Stores to computed places, each of which is hit once: the inverse of a permutation."""

from __future__ import annotations

from models.kernels.synth.expression import Kernel
from models.kernels.synth.lower import Lowering, Value


def placed(low: Lowering, places: Value, values: Value) -> Value:
    """Return a flat value with `values[i]` at `places[i]`; the places are a permutation."""
    size = low.host.text(places.shape[0])
    name = low.out.allocate(low.host.shape(places.shape), values.dtype)
    kernel = Kernel()
    n, target = kernel.number(size), kernel.pointer(name, values.dtype)
    header = [
        "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
        f"mask = at < {n}",
    ]
    index = ("0" if places.shape[0] == 1 else "at",)
    place = places.at(kernel, index).text
    element = kernel.block(values.at(kernel, index), values.dtype)
    kernel.line(f"tl.store({target} + {place}, {element.text}, mask=mask)")
    block = f"_block({size})"
    low.launch(kernel, header, places.shape[0],
               {"BLOCK": block, "GRID": f"(triton.cdiv({size}, {block}),)"})  # fmt: skip
    return low.buffer(name, places.shape, values.dtype)

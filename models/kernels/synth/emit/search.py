"""Places found by halving: in a sorted row, and of the n-th element that a test holds for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.scan import scanned
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, product
from models.kernels.synth.lower import Lowering, Value


def first_place(low: Lowering, kernel: Kernel, count: Size, is_before: Callable[[str], str]) -> str:
    """Return the first place of [0, count) where a monotonous test fails; count if it never does.

    Args:
        low: The graph that is lowered.
        kernel: What is written to.
        count: Places.
        is_before: Writes the test of a place and returns its name; it may load under the mask.
    """
    size = kernel.number(low.host.text(count))
    steps = kernel.number(f"({low.host.text(count)}).bit_length()")
    outer, zero = kernel.mask, kernel.zero()
    start, end = (f"{name}{kernel.counter}" for name in ("start_", "end_"))
    middle, inside = (f"{name}{kernel.counter}" for name in ("middle_", "inside_"))
    kernel.counter += 1
    kernel.line(f"{start} = {zero}")
    kernel.line(f"{end} = {zero} + {size}")
    kernel.line(f"for step in range(0, {steps}):")
    kernel.depth += 1
    known, memo = dict(kernel.known), dict(kernel.memo)
    kernel.line(f"{middle} = ({start} + {end}) // 2")
    kernel.line(f"{inside} = {outer} & ({start} < {end})")
    kernel.mask = inside
    test = is_before(middle)
    kernel.mask = outer
    kernel.line(f"{end} = tl.where({inside} & ({test} == 0), {middle}, {end})")
    kernel.line(f"{start} = tl.where({inside} & {test}, {middle} + 1, {start})")
    kernel.depth -= 1
    kernel.known, kernel.memo = known, memo
    return start


def running_count(low: Lowering, flags: Value) -> Value:
    """Return how many elements up to each place are true, of a flat value of bools."""

    def number(kernel: Kernel, index: Index) -> Var:
        return kernel.convert(flags.at(kernel, index), "int64")

    numbers = low.pointwise(flags.shape, "int64", number, [flags])
    return scanned(low, numbers, 0, "int64", True)


def nth_places(low: Lowering, running: Value, size: Size) -> Value:
    """Return where the count first reaches 1, 2, .. size."""
    count = running.shape[0]

    def load(kernel: Kernel, index: Index) -> Var:
        own = index[0] if index[0] != "0" else kernel.zero()

        def is_before(place: str) -> str:
            seen = running.at(kernel, (place if count != 1 else "0",))
            return kernel.let(f"{seen.text} <= {own}", "bool").text

        return Var(first_place(low, kernel, count, is_before), "int64")

    return low.store(low.pointwise((size,), "int64", load, [running]))


def read_last(low: Lowering, running: Value, symbols: list[Any]) -> Size:
    """Read the last element on the host: a size that data decide.

    Args:
        low: The graph that is lowered.
        running: A flat value in memory.
        symbols: Symbols of the trace that stand for this size.
    """
    count = low.host.text(running.shape[0])
    text = f"{running.tensor}.select(0, {count} - 1).item()"
    if not count.isdigit():
        text = f"{text} if {count} > 0 else 0"
    return low.host.measured(text if running.shape[0] != 0 else "0", symbols, low.out.lines)


def compacted(low: Lowering, flags: Value, symbols: list[Any]) -> Value:
    """Return the flat places of the true elements; the host reads how many there are."""
    flat = reshaped(low, flags, (product(flags.shape),))
    running = running_count(low, flat)
    return nth_places(low, running, read_last(low, running, symbols))


def unbacked(fake: Any) -> list[Any]:
    """Return the symbols of a result's sizes that no argument decides."""
    from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

    return sorted(free_unbacked_symbols(fake), key=str)

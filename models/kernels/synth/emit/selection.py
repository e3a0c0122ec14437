"""Results whose size data decide: a kernel counts, the host reads the count, a kernel selects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.emit.search import (
    compacted,
    first_place,
    nth_places,
    running_count,
    unbacked,
)
from models.kernels.synth.emit.slices import chosen
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product, split_number
from models.kernels.synth.lower import Lowering, Value, sizes_of, symbolic
from models.kernels.synth.scalar import UnsupportedError, apply


def broadcast_shape(shapes: Sequence[tuple[Size, ...]]) -> tuple[Size, ...]:
    """Return the shape that shapes broadcast to."""
    rank = max((len(shape) for shape in shapes), default=0)
    whole: list[Size] = [1] * rank
    for shape in shapes:
        for back, size in enumerate(reversed(shape), 1):
            if not is_one(size):
                whole[-back] = size
    return tuple(whole)


def expanded(low: Lowering, source: Value, shape: tuple[Size, ...]) -> Value:
    """Return a value under a shape that it broadcasts to."""

    def load(kernel: Kernel, index: Index) -> Var:
        return source.at(kernel, broadcast_index(index, source.shape))

    return low.pointwise(shape, source.dtype, load, [source])


def truths(low: Lowering, source: Value) -> Value:
    """Return which elements are not zero."""

    def load(kernel: Kernel, index: Index) -> Var:
        return kernel.convert(source.at(kernel, index), "bool")

    return low.pointwise(source.shape, "bool", load, [source])


def _columns(low: Lowering, places: Value, shape: tuple[Size, ...], filler: Size | None) -> Value:
    """Return the indices of flat places, a row each; negative places give the filler."""
    rank = len(shape)

    def load(kernel: Kernel, index: Index) -> Var:
        place = places.at(kernel, index[:1]).text
        parts = split_number(kernel, place, shape, low.host.text)
        column = index[1] if index[1] != "0" else kernel.zero()
        result = kernel.zero()
        for dim, part in enumerate(parts):
            if part != "0":
                result = kernel.let(f"tl.where({column} == {dim}, {part}, {result})", "int64").text
        if filler is not None:
            fill = low.operand(kernel, filler).text
            result = kernel.let(f"tl.where({place} < 0, {fill}, {result})", "int64").text
        return Var(result, "int64")

    return low.pointwise((places.shape[0], rank), "int64", load, [places])


def _nonzero(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    places = compacted(low, truths(low, source), unbacked(node.meta["val"]))
    return _columns(low, places, source.shape, None)


def _nonzero_static(low: Lowering, node: Any) -> Value:
    """The first `size` of them, whatever their number is: nothing is read."""
    source = low.value(node.args[0])
    size = sizes_of(node.meta["val"].shape)[0]
    filler = low.arg(node.kwargs.get("fill_value", -1))
    flat = reshaped(low, truths(low, source), (product(source.shape),))
    running = running_count(low, flat)
    count = flat.shape[0]
    found = nth_places(low, running, size)

    def load(kernel: Kernel, index: Index) -> Var:
        place = found.at(kernel, index).text
        end = kernel.number(low.host.text(count))
        return kernel.let(f"tl.where({place} < {end}, {place}, -1)", "int64")

    return _columns(low, low.pointwise((size,), "int64", load, [found]), source.shape, filler)


def _masked_select(low: Lowering, node: Any) -> Value:
    source, mask = low.value(node.args[0]), low.value(node.args[1])
    shape = broadcast_shape([source.shape, mask.shape])
    places = compacted(low, expanded(low, mask, shape), unbacked(node.meta["val"]))
    whole = expanded(low, source, shape)

    def load(kernel: Kernel, index: Index) -> Var:
        place = places.at(kernel, index).text
        return whole.at(kernel, split_number(kernel, place, shape, low.host.text))

    return low.pointwise(places.shape, source.dtype, load, [whole, places])


def unmasked(low: Lowering, indices: Sequence[Any], fake: Any) -> list[Any]:
    """Return an index list with every mask turned into the indices of its true elements."""
    result: list[Any] = []
    symbols = unbacked(fake) if fake is not None else []
    for one in indices:
        if not isinstance(one, Value) or one.dtype not in ("bool", "uint8"):
            result.append(one)
            continue
        places = compacted(low, truths(low, one), symbols)
        symbols = []
        result += [_part(low, places, one.shape, dim) for dim in range(len(one.shape))]
    return result


def _part(low: Lowering, places: Value, shape: tuple[Size, ...], dim: int) -> Value:
    def load(kernel: Kernel, index: Index) -> Var:
        place = places.at(kernel, index).text
        part = split_number(kernel, place, shape, low.host.text)[dim]
        return Var(part if part != "0" else kernel.zero(), "int64")

    return low.pointwise(places.shape, "int64", load, [places])


def _masked_scatter(low: Lowering, node: Any) -> Value:
    """The n-th true place takes the n-th element of the source."""
    base, mask, source = (low.value(one) for one in node.args[:3])
    shape = sizes_of(node.meta["val"].shape)
    flat = reshaped(low, expanded(low, mask, shape), (product(shape),))
    running = reshaped(low, running_count(low, flat), shape)
    line = reshaped(low, source, (product(source.shape),))
    own = expanded(low, base, shape)
    test_of = expanded(low, mask, shape)

    def load(kernel: Kernel, index: Index) -> Var:
        test = test_of.at(kernel, index).text
        outer = kernel.mask
        kernel.mask = kernel.let(f"{outer} & {test}", "bool").text
        place = kernel.let(f"{running.at(kernel, index).text} - 1", "int64").text
        element = line.at(kernel, ("0" if is_one(line.shape[0]) else place,))
        kernel.mask = outer
        return chosen(kernel, test, element, own.at(kernel, index), base.dtype)

    return low.pointwise(shape, base.dtype, load, [own, line, running, test_of])


def _repeat_interleave(low: Lowering, node: Any) -> Value:
    """Number j stands where the sum of the repeats first exceeds it."""
    from models.kernels.synth.emit.scan import scanned
    from models.kernels.synth.emit.search import read_last

    repeats, fake = low.value(node.args[0]), node.meta["val"]
    running = scanned(low, repeats, 0, "int64", True)
    size = node.kwargs.get("output_size")
    total = low.arg(size) if size is not None else read_last(low, running, unbacked(fake))

    def load(kernel: Kernel, index: Index) -> Var:
        own = index[0] if index[0] != "0" else kernel.zero()

        def is_before(place: str) -> str:
            at = "0" if is_one(running.shape[0]) else place
            return kernel.let(f"{running.at(kernel, (at,)).text} <= {own}", "bool").text

        return Var(first_place(low, kernel, running.shape[0], is_before), "int64")

    return low.store(low.pointwise((total,), "int64", load, [running]))


def _item(low: Lowering, node: Any) -> Any:
    """The host reads a number that a kernel made."""
    import sympy  # type: ignore[import-untyped]

    source = low.value(node.args[0])
    stored = low.store(reshaped(low, source, ()))
    symbol = symbolic(node.meta["val"])
    text = f"{stored.tensor}.item()"
    if isinstance(symbol, sympy.Eq):
        # The trace holds the truth of a number: that it is 1.
        symbol, text = next(iter(symbol.free_symbols)), f"int({text})"
    if not isinstance(symbol, sympy.Symbol):
        raise UnsupportedError("a read number that the trace knows")
    return low.host.measured(text, [symbol], low.out.lines)


def differing(kernel: Kernel, x: Var, y: Var) -> str:
    """Return the test that two elements differ; NaN differs from itself."""
    return apply(kernel, "ne", [x, y], "bool").text


RULES: dict[str, Callable[..., Any]] = {
    "aten.nonzero": _nonzero,
    "aten.nonzero_static": _nonzero_static,
    "aten.masked_select": _masked_select,
    "aten.masked_scatter": _masked_scatter,
    "aten.repeat_interleave.Tensor": _repeat_interleave,
    "aten._local_scalar_dense": _item,
}

"""Counts of elements: by value, and by the interval that they lie in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.reduction import extreme, summed
from models.kernels.synth.emit.search import unbacked
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.emit.views import reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product
from models.kernels.synth.lower import Lowering, Value, dtype_of
from models.kernels.synth.promotion import FLOATS


def _given(low: Lowering, node: Any, place: int, name: str, default: Any) -> Any:
    if len(node.args) > place:
        return low.arg(node.args[place])
    return low.arg(node.kwargs[name]) if name in node.kwargs else default


def _bincount(low: Lowering, node: Any) -> Value:
    """The host reads the largest value: as many places as that, or more where asked for."""
    import sympy  # type: ignore[import-untyped]

    source, dtype = low.value(node.args[0]), dtype_of(node.meta["val"])
    weights = _given(low, node, 1, "weights", None)
    least = _given(low, node, 2, "minlength", 0)
    top = extreme(low, source, [0], (), True)
    text = low.host.text(source.shape[0])
    read = f"{top.tensor}.item() + 1"
    read = "0" if source.shape[0] == 0 else f"{read} if {text} > 0 else 0"
    largest = low.host.measured(read, [], low.out.lines)
    number = low.host.text(sympy.Max(largest, least))
    size = low.host.measured(number, unbacked(node.meta["val"]), low.out.lines)

    def hit(kernel: Kernel, index: Index) -> Var:
        at = ("0" if is_one(source.shape[0]) else index[1],)
        test = f"{source.at(kernel, at).text} == {place_of(kernel, index[0])}"
        if isinstance(weights, Value):
            weight = kernel.convert(weights.at(kernel, at), dtype).text
            return kernel.let(f"tl.where({test}, {weight}, 0)", dtype)
        return kernel.let(f"tl.where({test}, 1, 0).to(tl.int64)", "int64")

    pairs = low.pointwise((size, source.shape[0]), dtype, hit, [source])
    return summed(low, pairs, [1], (size,), dtype)


class Intervals:
    """Equal intervals from a least to a largest number, the last one closed."""

    def __init__(self, low: Lowering, source: Value, bins: Size, ends: tuple[Any, Any]) -> None:
        """Take the ends; where they are equal numbers, those of the elements are taken."""
        self.low, self.bins = low, bins
        self.line = reshaped(low, source, (product(source.shape),))
        self.ends = [self._number(one) for one in ends]
        if ends[0] == ends[1]:
            is_empty = self.line.shape[0] == 0
            found = [extreme(low, self.line, [0], (), is_max) for is_max in (False, True)]
            self.ends = self.ends if is_empty else [self._apart(found, is_max) for is_max in (0, 1)]

    def _number(self, number: Any) -> Value:
        def load(kernel: Kernel, index: Index) -> Var:
            return kernel.block(self.low.operand(kernel, number), self.line.dtype)

        return self.low.pointwise((), self.line.dtype, load, [])

    def _apart(self, found: list[Value], is_max: int) -> Value:
        """Return an end of the elements; equal ends are moved apart by one each."""

        def load(kernel: Kernel, index: Index) -> Var:
            least, most = (one.at(kernel, ()).text for one in found)
            sign = "+" if is_max else "-"
            own = (least, most)[is_max]
            text = f"tl.where({least} == {most}, {own} {sign} 1, {own})"
            return kernel.let(text, self.line.dtype)

        return self.low.pointwise((), self.line.dtype, load, found)

    def counted(self, weights: Value | None, dtype: str, edges: Value | None) -> Value:
        """Return how many elements, or how much of their weights, lie in each interval.

        An element's interval is computed; where there are edges it is moved by one if it lies
        beyond an edge, as ATen's histogram does.
        """
        low, line, bins = self.low, self.line, self.bins

        def place(kernel: Kernel, index: Index) -> Var:
            x = line.at(kernel, index).text
            least, most = (one.at(kernel, ()).text for one in self.ends)
            count = kernel.number(low.host.text(bins))
            inside = kernel.let(f"({x} >= {least}) & ({x} <= {most})", "bool").text
            scaled = kernel.let(f"({x} - {least}) * {count} / ({most} - {least})", line.dtype).text
            own = kernel.let(f"tl.where({inside}, {scaled}, 0.0).to(tl.int64)", "int64").text
            own = kernel.let(f"tl.where({own} >= {count}, {count} - 1, {own})", "int64").text
            if edges is not None:
                first = edges.at(kernel, (own,)).text
                down = kernel.let(f"tl.where({x} < {first}, {own} - 1, {own})", "int64").text
                after = edges.at(kernel, (kernel.let(f"{own} + 1", "int64").text,)).text
                up = f"tl.where(({x} >= {after}) & ({own} + 1 < {count}), {own} + 1, {down})"
                own = kernel.let(up, "int64").text
            return kernel.let(f"tl.where({inside}, {own}, -1)", "int64")

        places = low.store(low.pointwise(line.shape, "int64", place, [line]))

        def hit(kernel: Kernel, index: Index) -> Var:
            at = ("0" if is_one(line.shape[0]) else index[1],)
            test = f"{places.at(kernel, at).text} == {place_of(kernel, index[0])}"
            weight = "1.0"
            if weights is not None:
                weight = kernel.convert(weights.at(kernel, at), dtype).text
            return kernel.let(f"tl.where({test}, {weight}, 0.0).to(tl.{dtype})", dtype)

        held = dtype if dtype == "float64" else "float32"
        pairs = low.pointwise((bins, line.shape[0]), held, hit, [places])
        return summed(low, pairs, [1], (bins,), dtype)


def _histc(low: Lowering, node: Any) -> Value:
    source, dtype = low.value(node.args[0]), dtype_of(node.meta["val"])
    names = (("bins", 100), ("min", 0), ("max", 0))
    bins, least, most = (
        _given(low, node, place, name, default) for place, (name, default) in enumerate(names, 1)
    )
    if dtype not in FLOATS:
        return Intervals(low, _floating(low, source), bins, (least, most)).counted(
            None, "float64", None
        )
    return Intervals(low, source, bins, (least, most)).counted(None, dtype, None)


def _floating(low: Lowering, source: Value) -> Value:
    def load(kernel: Kernel, index: Index) -> Var:
        return kernel.convert(source.at(kernel, index), "float64")

    return low.pointwise(source.shape, "float64", load, [source])


RULES: dict[str, Callable[..., Any]] = {"aten.bincount": _bincount, "aten.histc": _histc}

"""Writes to places that data decide, turned round: every result looks for the writes that hit it.

No scatter store and no atomic is needed and the order of writes is fixed, at the price of work
that grows with results times writes.
"""

from __future__ import annotations

from collections.abc import Callable

from models.kernels.synth.emit.reduction import Reduction, extreme, identity, summed
from models.kernels.synth.emit.slices import chosen
from models.kernels.synth.emit.sorting import place_of
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.promotion import FLOATS
from models.kernels.synth.scalar import UnsupportedError


class Writes:
    """Writes of `value(j)` to the elements of `base` for which `hits(i, j)`."""

    def __init__(
        self,
        low: Lowering,
        base: Value,
        count: Size,
        hits: Callable[[Kernel, Index, str], str],
        value: Callable[[Kernel, Index, str], Var],
    ) -> None:
        self.low, self.base, self.count = low, base, count
        self.hits, self.value = hits, value

    def last(self) -> Value:
        """Return the base with the last write to each element."""
        low, base = self.low, self.base

        def number(kernel: Kernel, index: Index) -> Var:
            own, j = index[:-1], place_of(kernel, index[-1])
            test = self.hits(kernel, own, j)
            return kernel.let(f"tl.where({test}, {j}, -1)", "int64")

        pairs = low.pointwise((*base.shape, self.count), "int64", number, [base])
        winner = extreme(low, pairs, [-1], base.shape, True)

        def load(kernel: Kernel, index: Index) -> Var:
            j = winner.at(kernel, index).text
            test = kernel.let(f"{j} >= 0", "bool").text
            outer = kernel.mask
            kernel.mask = kernel.let(f"{outer} & {test}", "bool").text
            written = self.value(kernel, index, j)
            kernel.mask = outer
            if not written.is_scalar and written.dtype != base.dtype:
                written = kernel.convert(written, base.dtype)
            return chosen(kernel, test, written, base.at(kernel, index), base.dtype)

        return low.pointwise(base.shape, base.dtype, load, [base, winner])

    def _where_hit(self, neutral: str, held: str) -> Value:
        low, base = self.low, self.base

        def term(kernel: Kernel, index: Index) -> Var:
            own, j = index[:-1], place_of(kernel, index[-1])
            test = self.hits(kernel, own, j)
            outer = kernel.mask
            kernel.mask = kernel.let(f"{outer} & {test}", "bool").text
            written = kernel.convert(self.value(kernel, own, j), held)
            kernel.mask = outer
            return kernel.let(f"tl.where({test}, {written.text}, {neutral})", held)

        return low.pointwise((*base.shape, self.count), held, term, [base])

    def counts(self) -> Value:
        """Return how many writes hit each element."""
        low, base = self.low, self.base

        def term(kernel: Kernel, index: Index) -> Var:
            test = self.hits(kernel, index[:-1], place_of(kernel, index[-1]))
            return kernel.let(f"tl.where({test}, 1, 0).to(tl.int64)", "int64")

        pairs = low.pointwise((*base.shape, self.count), "int64", term, [base])
        return summed(low, pairs, [-1], base.shape, "int64")

    def total(self) -> Value:
        """Return the base plus the sum of the writes to each element."""
        low, base = self.low, self.base
        held = (
            base.dtype
            if base.dtype == "float64"
            else "float32"
            if base.dtype in FLOATS
            else "int64"
        )
        part = summed(low, self._where_hit("0", held), [-1], base.shape, held)

        def load(kernel: Kernel, index: Index) -> Var:
            own = kernel.convert(base.at(kernel, index), held)
            return kernel.convert(
                kernel.let(f"{own.text} + {part.at(kernel, index).text}", held), base.dtype
            )

        return low.pointwise(base.shape, base.dtype, load, [base, part])

    def reduced(self, how: str, include_self: bool) -> Value:
        """Return the base reduced with its writes: sum, prod, mean, amax, amin.

        Raises:
            UnsupportedError: Another reduction.
        """
        low, base = self.low, self.base
        is_float = base.dtype in FLOATS
        held = base.dtype if base.dtype == "float64" else "float32" if is_float else "int64"
        if how in ("sum", "mean"):
            part = summed(low, self._where_hit("0", held), [-1], base.shape, held)
            neutral, join = "0", "{a} + {b}"
        elif how == "prod":
            work = Reduction(low, self._where_hit("1", held), [-1])
            work.start("acc", "1", held)
            with work.columns_loop() as element:
                work.kernel.line(f"acc = acc * tl.where(mask, {element.text}, 1)")
            work.kernel.helpers.add("_times")
            part = work.finish("tl.reduce(acc, 1, _times)", base.shape, held)
            neutral, join = "1", "{a} * {b}"
        elif how in ("amax", "amin"):
            neutral = identity(held, how == "amax")
            part = extreme(low, self._where_hit(neutral, held), [-1], base.shape, how == "amax")
            sign = ">" if how == "amax" else "<"
            join = f"tl.where(({{a}} {sign} {{b}}) | ({{a}} != {{a}}), {{a}}, {{b}})"
        else:
            raise UnsupportedError(f"a scatter that reduces by '{how}'")
        count = self.counts()

        def load(kernel: Kernel, index: Index) -> Var:
            own = kernel.convert(base.at(kernel, index), held)
            hits = count.at(kernel, index).text
            start = own.text
            if not include_self:
                start = kernel.let(f"tl.where({hits} > 0, {neutral}, {own.text})", held).text
            both = kernel.let(join.format(a=start, b=part.at(kernel, index).text), held)
            if how == "mean":
                parts = kernel.let(f"{hits} + {int(include_self)}", "int64").text
                divisor = kernel.let(f"tl.where({parts} > 0, {parts}, 1)", "int64").text
                if is_float:
                    both = kernel.let(f"{both.text} / {divisor}.to(tl.{held})", held)
                else:
                    quotient = kernel.let(f"{both.text} // {divisor}", held).text
                    lower = f"({quotient} * {divisor} != {both.text}) & ({both.text} < 0)"
                    both = kernel.let(f"tl.where({lower}, {quotient} - 1, {quotient})", held)
            return kernel.convert(both, base.dtype)

        return low.pointwise(base.shape, base.dtype, load, [base, part, count])

"""Kernels over a batch of matrices: each program takes a block of several whole matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.kernels.synth.emit.pointwise import broadcast_index
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Size, is_one, product, split_number
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.promotion import FLOATS

Shape = tuple[Size, ...]


class Matrices:
    """One kernel while it is written.

    Blocks are (BATCH, SIDE, SIDE): `lane` numbers matrices, `row` and `col` their elements. Right
    hand sides have blocks of (BATCH, SIDE, WIDE), whose columns `far` numbers. SIDE and WIDE are
    the powers of two that hold the sizes, so no size enters the source. Floats are computed with
    in double precision.
    """

    def __init__(
        self,
        low: Lowering,
        batch: Shape,
        sides: Sequence[Size],
        wide: Size | None = None,
        alone: bool = False,
    ) -> None:
        """Start a kernel.

        Args:
            low: The graph it belongs to.
            batch: Leading sizes.
            sides: Sizes that SIDE must hold.
            wide: Columns of right hand sides; None: there are none.
            alone: One matrix a program.
        """
        self.low, self.batch, self.wide, self.alone = low, batch, wide, alone
        self.kernel = Kernel(rank=3)
        self.sides = sides
        self.count = self.number(product(batch))
        self._index = split_number(self.kernel, "lane", batch, low.host.text)

    def number(self, size: Size) -> str:
        """Return a size as kernel text."""
        return self.kernel.number(self.low.host.text(size))

    def call(self, names: Sequence[str], function: str, *arguments: str) -> None:
        """Assign the results of a device function."""
        self.kernel.helpers.add(function)
        self.line(f"{', '.join(names)} = {function}({', '.join(arguments)})")

    def line(self, text: str) -> None:
        """Write a line."""
        self.kernel.line(text)

    def _mask(self, places: Sequence[tuple[str, Size]]) -> str:
        tests = [f"({place} < {self.number(size)})" for place, size in places]
        return self.kernel.let(" & ".join([f"(lane < {self.count})", *tests]), "bool").text

    def _element(self, value: Value, places: Sequence[tuple[str, Size]]) -> str:
        kernel = self.kernel
        lead = broadcast_index(self._index, value.shape[: len(value.shape) - len(places)])
        own = ["0" if is_one(size) else place for place, size in places]
        outer, kernel.mask = kernel.mask, self._mask(places)
        held = "float64" if value.dtype in FLOATS else "int64"
        element = kernel.convert(value.at(kernel, (*lead, *own)), held)
        found = kernel.let(f"tl.where({kernel.mask}, {element.text}, 0)", held).text
        kernel.mask = outer
        return found

    def read(self, value: Value, across: str = "col", transposed: bool = False) -> str:
        """Return a block of matrices, 0 beyond them; or of the transposed ones."""
        places = (across, "row") if transposed else ("row", across)
        return self._element(value, list(zip(places, value.shape[-2:], strict=True)))

    def read_line(self, value: Value) -> str:
        """Return a block of vectors, along the columns."""
        return self._element(value, [("col", value.shape[-1])])

    def _store(self, text: str, dtype: str, shape: Shape, places: Sequence[str]) -> Value:
        low, kernel = self.low, self.kernel
        name = low.out.allocate(low.host.shape(shape), dtype)
        sizes = shape[len(shape) - len(places) :]
        at = "lane"
        for place, size in zip(places, sizes, strict=True):
            at = f"({at}) * {self.number(size)} + {place}"
        mask = self._mask(list(zip(places, sizes, strict=True)))
        element = kernel.convert(Var(text, "float64" if dtype in FLOATS else "int64"), dtype)
        target = kernel.pointer(name, dtype)
        kernel.line(f"tl.store({target} + {at}, {element.text}, mask={mask})")
        return low.buffer(name, shape, dtype)

    def write(
        self, text: str, fake: tuple[Shape, str], across: str = "col", transposed: bool = False
    ) -> Value:
        """Store a block of matrices as a new tensor of a shape and type."""
        places = (across, "row") if transposed else ("row", across)
        return self._store(text, fake[1], fake[0], places)

    def write_line(self, text: str, fake: tuple[Shape, str], place: str = "col") -> Value:
        """Store a block of vectors."""
        return self._store(text, fake[1], fake[0], [place])

    def write_number(self, text: str, fake: tuple[Shape, str]) -> Value:
        """Store one number per matrix."""
        return self._store(text, fake[1], fake[0], [])

    def write_pairs(self, real: str, imaginary: str, fake: tuple[Shape, str]) -> Value:
        """Store blocks of real and imaginary parts, which alternate in the last dimension."""
        low, kernel, (shape, dtype) = self.low, self.kernel, fake
        name = low.out.allocate(low.host.shape(shape), dtype)
        rows, columns = shape[-3:-1]
        mask = self._mask([("row", rows), ("col", columns)])
        at = f"((lane * {self.number(rows)} + row) * {self.number(columns)} + col) * 2"
        target = kernel.pointer(name, dtype)
        for place, text in enumerate((real, imaginary)):
            element = kernel.convert(Var(text, "float64"), dtype)
            kernel.line(f"tl.store({target} + {at} + {place}, {element.text}, mask={mask})")
        return low.buffer(name, shape, dtype)

    def finish(self) -> None:
        """Emit the kernel and its launch."""
        low, count = self.low, self.low.host.text(product(self.batch))
        side = self._named("side", _power(low, self.sides))
        host = {"SIDE": side}
        header = [
            "lane = (tl.program_id(0).to(tl.int64) * BATCH + tl.arange(0, BATCH))[:, None, None]",
            "row = tl.arange(0, SIDE).to(tl.int64)[None, :, None]",
            "col = tl.arange(0, SIDE).to(tl.int64)[None, None, :]",
        ]
        widest = side
        if self.wide is not None:
            host["WIDE"] = self._named("wide", _power(low, [self.wide]))
            header.append("far = tl.arange(0, WIDE).to(tl.int64)[None, None, :]")
            widest = f"max({side}, {host['WIDE']})"
        runs = "1" if self.alone else self._named("runs", f"_runs({count}, {widest})")
        host |= {"BATCH": runs, "GRID": f"(triton.cdiv({count}, {runs}),)"}
        low.launch(self.kernel, header, product(self.batch), host)

    def _named(self, name: str, text: str) -> str:
        """Name a size of the launch on the host, which several of its arguments read."""
        own = f"{name}{self.low.out.buffers}"
        self.low.out.lines.append(f"{own} = {text}")
        return own


def _power(low: Lowering, sizes: Sequence[Size]) -> str:
    listed = ", ".join(dict.fromkeys(low.host.text(size) for size in sizes))
    return f"triton.next_power_of_2(max({listed}, 1))"


def results_of(node: Any) -> list[tuple[Shape, str]]:
    """Return shape and type of each result of a node."""
    from models.kernels.synth.lower import dtype_of, sizes_of

    fakes = node.meta["val"]
    listed = list(fakes) if isinstance(fakes, list | tuple) else [fakes]
    return [(sizes_of(fake.shape), dtype_of(fake)) for fake in listed]


def used(node: Any) -> set[int]:
    """Return which results of a node anything reads."""
    return {user.args[1] for user in node.users if "getitem" in str(user.target)}


def option(node: Any, place: int, name: str, default: Any) -> Any:
    """Return an argument of a node that chooses code."""
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)

"""Sorted orders: runs ordered by counting, then merged in pairs until one run is left.

A merge finds where its output comes from by a binary search along the diagonal of two runs
(Green, McColl, Bader 2012, "GPU Merge Path"), so every store is dense and the order of equal
elements is that of their places. Work grows with n log(n)^2.
"""

from __future__ import annotations

from models.kernels.synth.expression import Kernel, Var, tl_type
from models.kernels.synth.layout import Size, is_one, product, split_number
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.promotion import FLOATS


def before(kernel: Kernel, x: Var, y: Var, dtype: str, descending: bool) -> tuple[str, str]:
    """Return tests that x stands strictly before y, and that they are equal; NaN is largest."""
    if dtype == "bool":
        x, y = kernel.convert(x, "int32"), kernel.convert(y, "int32")
    low, high = (y, x) if descending else (x, y)
    ahead, same = f"({low.text} < {high.text})", f"({x.text} == {y.text})"
    if dtype in FLOATS:
        ahead = f"({ahead} | (({high.text} != {high.text}) & ({low.text} == {low.text})))"
        same = f"({same} | (({x.text} != {x.text}) & ({y.text} != {y.text})))"
    return kernel.let(ahead, "bool").text, kernel.let(same, "bool").text


class Order:
    """The order of the elements along one dimension, while it is written."""

    def __init__(self, low: Lowering, source: Value, dim: int, descending: bool) -> None:
        self.low, self.dim, self.descending = low, dim, descending
        # A merge reads each element many times: what is computed is stored once.
        self.source = source if source.tensor is not None else low.store(source)
        self.kept = [size for place, size in enumerate(source.shape) if place != dim]
        self.size = source.shape[dim]
        self.rows = product(self.kept)
        self.count = self.rows * self.size

    def places(self) -> Value:
        """Return the places in order, of shape (*kept, size), in memory."""
        low = self.low
        shape = (*self.kept, self.size)
        first, second = (low.out.allocate(low.host.shape(shape), "int64") for _ in range(2))
        size = low.host.text(self.size)
        run = f"_run({size})"
        width = f"run{low.out.buffers}"
        low.out.lines.append(f"{width} = {run}")
        self._runs(first, width)
        start, blocks = len(low.out.lines), dict(low.blocks)
        self._merge(first, second, width)
        body = [*low.out.lines[start:], f"{first}, {second} = {second}, {first}",
                f"{width} = {width} * 2"]  # fmt: skip
        low.out.lines[start:] = [f"while {width} < {size}:", *(f"    {one}" for one in body)]
        # What the loop names is its own.
        low.blocks = blocks
        return low.buffer(first, shape, "int64")

    def _key(self, kernel: Kernel, row: str, place: str) -> Var:
        """Return the element at a place of a row."""
        outer = iter(split_number(kernel, row, self.kept, self.low.host.text))
        own = "0" if is_one(self.size) else place
        index = tuple(own if d == self.dim else next(outer) for d in range(len(self.kept) + 1))
        return kernel.block(self.source.at(kernel, index), self.source.dtype)

    def _runs(self, target: str, width: str) -> None:
        low, kernel = self.low, Kernel(rank=2)
        size = kernel.number(low.host.text(self.size))
        per_row = f"triton.cdiv({low.host.text(self.size)}, {width})"
        count = f"{low.host.text(self.rows)} * {per_row}"
        chunks, out = kernel.number(per_row), kernel.pointer(target, "int64")
        lines = kernel.number(count)
        header = [
            "line = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)",
            f"row = (line // {chunks})[:, None]",
            "own = tl.arange(0, WIDTH)",
            f"place = (line % {chunks})[:, None] * WIDTH + own[None, :]",
            f"mask = (line < {lines})[:, None] & (place < {size})",
        ]
        key = self._key(kernel, "row", "place")
        if key.dtype == "bool":
            key = kernel.convert(key, "int32")
        zeros = f"tl.zeros((ROWS, WIDTH), dtype={tl_type(key.dtype)})"
        kernel.line(f"x = {key.text} + {zeros}")
        one, other = Var("x[:, :, None]", key.dtype), Var("x[:, None, :]", key.dtype)
        ahead, same = before(kernel, other, one, key.dtype, self.descending)
        for line in (
            f"first = {ahead} | ({same} & (own[None, None, :] < own[None, :, None]))",
            "rank = tl.sum(tl.where(first & mask[:, None, :], 1, 0), axis=2)",
            "rank = tl.where(mask, rank, own[None, :])",
            "found = rank[:, None, :] == own[None, :, None]",
            "chosen = tl.sum(tl.where(found, place[:, None, :], 0), axis=2)",
            f"tl.store({out} + row * {size} + place, chosen, mask=mask)",
        ):
            kernel.line(line)
        rows = f"_runs({count}, {width})"
        grid = f"(triton.cdiv({count}, {rows}),)"
        low.launch(kernel, header, self.count, {"ROWS": rows, "WIDTH": width, "GRID": grid})

    def _merge(self, source: str, target: str, width: str) -> None:
        low, kernel = self.low, Kernel()
        number = low.host.text(self.count)
        n, size = kernel.number(number), kernel.number(low.host.text(self.size))
        run = kernel.number(width)
        steps = kernel.number(f"{width}.bit_length() + 1")
        into, out = kernel.pointer(source, "int64"), kernel.pointer(target, "int64")
        header = [
            "at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)",
            f"mask = at < {n}",
            f"row = at // {size}",
            f"place = at % {size}",
            f"start = place // (2 * {run}) * (2 * {run})",
            f"left = tl.where({size} - start < {run}, {size} - start, {run})",
            f"right = tl.where({size} - start - left < {run}, {size} - start - left, {run})",
            "ahead = place - start",
            "least = tl.where(ahead > right, ahead - right, 0)",
            "most = tl.where(ahead < left, ahead, left)",
            f"base = {into} + row * {size} + start",
        ]

        def test(place: str, other: str, mask: str) -> str:
            """Whether the element of the right run stands strictly before that of the left."""
            kernel.mask = mask
            kernel.line(f"at_left = tl.load(base + ({place}), mask={mask}, other=0).to(tl.int64)")
            kernel.line(
                f"at_right = tl.load(base + left + ({other}), mask={mask}, other=0).to(tl.int64)"
            )
            x, y = self._key(kernel, "row", "at_left"), self._key(kernel, "row", "at_right")
            return before(kernel, y, x, self.source.dtype, self.descending)[0]

        kernel.line(f"for step in range(0, {steps}):")
        kernel.depth += 1
        known, memo = dict(kernel.known), dict(kernel.memo)
        kernel.line("middle = (least + most) // 2")
        kernel.line("open = mask & (least < most)")
        goes = test("middle", "ahead - 1 - middle", "open")
        kernel.line(f"most = tl.where(open & {goes}, middle, most)")
        kernel.line(f"least = tl.where(open & ({goes} == 0), middle + 1, least)")
        kernel.depth -= 1
        kernel.known, kernel.memo = known, memo
        kernel.line("both = mask & (least < left) & (ahead - least < right)")
        goes = test("least", "ahead - least", "both")
        kernel.line(f"is_right = (both & {goes}) | (least >= left)")
        kernel.line("taken = tl.where(is_right, left + ahead - least, least)")
        kernel.line(f"tl.store({out} + at, tl.load(base + taken, mask=mask, other=0), mask=mask)")
        block = f"_block({number})"
        low.launch(kernel, header, self.count,
                   {"BLOCK": block, "GRID": f"(triton.cdiv({number}, {block}),)"})  # fmt: skip


def sorted_places(low: Lowering, source: Value, dim: int, descending: bool, size: Size) -> Value:
    """Return the places of the first `size` elements in sorted order, equal ones by place."""
    order = Order(low, source, dim, descending).places()
    shape = (*source.shape[:dim], size, *source.shape[dim + 1 :])

    def load(kernel: Kernel, index: tuple[str, ...]) -> Var:
        own = "0" if is_one(source.shape[dim]) else index[dim]
        return order.at(kernel, (*index[:dim], *index[dim + 1 :], own))

    return low.pointwise(shape, "int64", load, [order])

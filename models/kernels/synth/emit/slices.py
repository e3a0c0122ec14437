"""Parts of tensors and what is put into them: diagonals, splits, windows, scatters of slices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.views import remapped, reshaped
from models.kernels.synth.expression import Kernel, Var
from models.kernels.synth.layout import Index, Size, is_one, product, strided_offset
from models.kernels.synth.lower import Lowering, Value, dtype_of, sizes_of
from models.kernels.synth.scalar import UnsupportedError


def plus(low: Lowering, kernel: Kernel, place: str, size: Size) -> str:
    """Return an index moved by a number of the host."""
    if size == 0:
        return place
    base = place if place != "0" else kernel.zero()
    return kernel.let(f"{base} + ({kernel.number(low.host.text(size))})", "int64").text


def times(low: Lowering, kernel: Kernel, place: str, size: Size) -> str:
    """Return an index multiplied by a number of the host."""
    if place == "0" or size == 1:
        return place
    return kernel.let(f"{place} * ({kernel.number(low.host.text(size))})", "int64").text


def chosen(kernel: Kernel, test: str, yes: Var, no: Var, dtype: str) -> Var:
    """Return a value by a test, of bools too."""
    yes, no = kernel.block(yes, dtype), kernel.block(no, dtype)
    if dtype == "bool":
        return kernel.let(f"({test} & {yes.text}) | (({test} == 0) & {no.text})", "bool")
    return kernel.let(f"tl.where({test}, {yes.text}, {no.text})", yes.dtype)


def guarded(kernel: Kernel, value: Value, index: Index, test: str) -> Var:
    """Return an element that is only read where a test holds."""
    outer = kernel.mask
    kernel.mask = kernel.let(f"{outer} & {test}", "bool").text
    element = value.at(kernel, index)
    kernel.mask = outer
    return element


def _diagonal(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    rank = len(source.shape)
    given = [*[low.arg(one) for one in node.args[1:]], *[None] * 3][:3]
    offset, first, second = (
        node.kwargs.get(name, given[place]) for place, name in enumerate(("offset", "dim1", "dim2"))
    )
    offset = offset or 0
    first = (0 if first is None else first) % rank
    second = (1 if second is None else second) % rank

    def remap(kernel: Kernel, index: Index) -> Index:
        rest = iter(index[:-1])
        own = ["" if dim in (first, second) else next(rest) for dim in range(rank)]
        own[first] = plus(low, kernel, index[-1], max(-offset, 0))
        own[second] = plus(low, kernel, index[-1], max(offset, 0))
        return tuple(own)

    return remapped(low, node, source, remap)


def _diagonal_scatter(low: Lowering, node: Any) -> Value:
    source, part = low.value(node.args[0]), low.value(node.args[1])
    rank = len(source.shape)
    offset, first, second = (
        [*[low.arg(one) for one in node.args[2:]], *[0, 0, 1][len(node.args) - 2 :]]
    )[:3]
    first, second = first % rank, second % rank

    def load(kernel: Kernel, index: Index) -> Var:
        row = plus(low, kernel, index[first], offset)
        test = kernel.let(
            f"({row if row != '0' else kernel.zero()}) == ({index[second]})", "bool"
        ).text
        rest = [place for dim, place in enumerate(index) if dim not in (first, second)]
        along = index[first] if offset >= 0 else index[second]
        along = "0" if is_one(part.shape[-1]) else along
        element = guarded(kernel, part, (*rest, along), test)
        return chosen(kernel, test, element, source.at(kernel, index), source.dtype)

    return low.pointwise(source.shape, source.dtype, load, [source, part])


def _part(low: Lowering, source: Value, dim: int, start: Size, size: Size) -> Value:
    shape = (*source.shape[:dim], size, *source.shape[dim + 1 :])

    def load(kernel: Kernel, index: Index) -> Var:
        return source.at(
            kernel, (*index[:dim], plus(low, kernel, index[dim], start), *index[dim + 1 :])
        )

    return low.pointwise(shape, source.dtype, load, [source])


def _split(low: Lowering, node: Any) -> list[Value]:
    source = low.value(node.args[0])
    asked = low.arg(node.args[2]) if len(node.args) > 2 else node.kwargs.get("dim", 0)
    dim = asked % len(source.shape)
    parts, start = [], 0
    for fake in node.meta["val"]:
        size = sizes_of(fake.shape)[dim]
        parts.append(_part(low, source, dim, start, size))
        start = start + size
    return parts


def _unbind(low: Lowering, node: Any) -> list[Value]:
    source = low.value(node.args[0])
    asked = low.arg(node.args[1]) if len(node.args) > 1 else node.kwargs.get("dim", 0)
    dim = asked % len(source.shape)
    shape = (*source.shape[:dim], *source.shape[dim + 1 :])

    def part(place: int) -> Value:
        def load(kernel: Kernel, index: Index) -> Var:
            own = plus(low, kernel, "0", place)
            return source.at(kernel, (*index[:dim], own, *index[dim:]))

        return low.pointwise(shape, source.dtype, load, [source])

    return [part(place) for place in range(len(node.meta["val"]))]


def _item(low: Lowering, node: Any) -> Value:
    parts = low.arg(node.args[0])
    found = parts[node.args[1]]
    if not isinstance(found, Value):
        raise UnsupportedError(f"result {node.args[1]} of {node.args[0]}")
    return found


def _unfold(low: Lowering, node: Any) -> Value:
    source = low.value(node.args[0])
    asked, step = low.arg(node.args[1]), low.arg(node.args[3])
    dim = asked % max(len(source.shape), 1)

    def remap(kernel: Kernel, index: Index) -> Index:
        if not source.shape:
            return ()
        window, inner = times(low, kernel, index[dim], step), index[-1]
        both = (
            inner
            if window == "0"
            else window
            if inner == "0"
            else kernel.let(f"{window} + {inner}", "int64").text
        )
        return (*index[:dim], both, *index[dim + 1 : -1])

    return remapped(low, node, source, remap)


def _select_scatter(low: Lowering, node: Any) -> Value:
    source, part = low.value(node.args[0]), low.value(node.args[1])
    dim, place = low.arg(node.args[2]) % len(source.shape), low.arg(node.args[3])
    at = place if not isinstance(place, int) or place >= 0 else source.shape[dim] + place

    def load(kernel: Kernel, index: Index) -> Var:
        own = index[dim] if index[dim] != "0" else kernel.zero()
        test = kernel.let(f"{own} == {kernel.number(low.host.text(at))}", "bool").text
        element = guarded(kernel, part, (*index[:dim], *index[dim + 1 :]), test)
        return chosen(kernel, test, element, source.at(kernel, index), source.dtype)

    return low.pointwise(source.shape, source.dtype, load, [source, part])


def _slice_scatter(low: Lowering, node: Any) -> Value:
    import sympy  # type: ignore[import-untyped]

    source, part = low.value(node.args[0]), low.value(node.args[1])
    names = ("dim", "start", "end", "step")
    given = dict(zip(names, [low.arg(one) for one in node.args[2:]], strict=False))
    given |= {name: low.arg(value) for name, value in node.kwargs.items()}
    dim = (given.get("dim") or 0) % len(source.shape)
    step, start = given.get("step") or 1, given.get("start") or 0
    size = source.shape[dim]
    start = (
        sympy.Max(0, size + start)
        if isinstance(start, int) and start < 0
        else sympy.Min(start, size)
    )

    def load(kernel: Kernel, index: Index) -> Var:
        moved = plus(low, kernel, index[dim], -start)
        base = moved if moved != "0" else kernel.zero()
        by = kernel.number(low.host.text(step))
        own = kernel.let(f"{base} // {by}", "int64").text if step != 1 else base
        count = kernel.number(low.host.text(part.shape[dim]))
        whole = f" & ({base} % {by} == 0)" if step != 1 else ""
        test = kernel.let(f"({base} >= 0) & ({own} < {count}){whole}", "bool").text
        at = (*index[:dim], "0" if is_one(part.shape[dim]) else own, *index[dim + 1 :])
        element = guarded(kernel, part, at, test)
        return chosen(kernel, test, element, source.at(kernel, index), source.dtype)

    return low.pointwise(source.shape, source.dtype, load, [source, part])


def _numel(node: Any) -> Any:
    """Return how many elements a node had when it was traced; no guard comes of it."""
    count = node.meta["val"].numel()
    return getattr(getattr(count, "node", None), "hint", count)


def _is_reshape(sizes: list[Size], strides: list[Size], offset: Any, is_whole: bool) -> bool:
    """Whether sizes and strides are those of a dense tensor of as many elements."""
    dense: list[Size] = [product(sizes[place + 1 :]) for place in range(len(sizes))]
    is_dense = all(
        is_one(size) or stride == due
        for size, stride, due in zip(sizes, strides, dense, strict=True)
    )
    return is_dense and not offset and is_whole


def _as_strided(low: Lowering, node: Any) -> Value:
    """On an argument or stored tensor the wrapper makes the view: metadata, no kernel.

    Decompositions of reshapes ask for the strides of a dense tensor, which an argument need not
    be; these are reshapes here.
    """
    source = low.value(node.args[0])
    sizes, strides = low.arg(node.args[1]), low.arg(node.args[2])
    offset = low.arg(node.args[3]) if len(node.args) > 3 else node.kwargs.get("storage_offset")
    is_whole = _numel(node) == _numel(node.args[0])
    if _is_reshape(sizes, strides, offset, is_whole):
        return reshaped(low, source, tuple(sizes))
    if source.tensor is None or source.is_dense:
        source = low.stored(source)
    name = f"w{low.out.buffers}"
    low.out.buffers += 1
    own = f"{source.tensor}.storage_offset()" if offset is None else low.host.text(low.arg(offset))
    shape = f"{low.host.shape(sizes)}, {low.host.shape(strides)}"
    low.out.lines.append(f"{name} = {source.tensor}.as_strided({shape}, {own})")
    dtype = dtype_of(node.meta["val"])

    def load(kernel: Kernel, index: Index) -> Var:
        return kernel.load(name, dtype, strided_offset(kernel, index, name))

    return low.keep(Value(tuple(sizes), dtype, load, tensor=name))


RULES: dict[str, Callable[..., Any]] = {
    "aten.diagonal": _diagonal,
    "aten.diagonal_scatter": _diagonal_scatter,
    "aten.split": _split,
    "aten.split_with_sizes": _split,
    "aten.unbind": _unbind,
    "<built-in function getitem>": _item,
    "aten.unfold": _unfold,
    "aten.select_scatter": _select_scatter,
    "aten.slice_scatter": _slice_scatter,
    "aten.as_strided": _as_strided,
    "prims.as_strided": _as_strided,
}

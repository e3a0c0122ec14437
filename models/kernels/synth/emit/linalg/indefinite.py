"""Symmetric factors without definiteness, and eigenvalues of general matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.complexes import parts_of, viewed
from models.kernels.synth.emit.linalg.factors import Results
from models.kernels.synth.emit.linalg.matrices import Matrices, Shape, results_of, used
from models.kernels.synth.lower import Lowering, Value, sizes_of


def _ldl_factor(low: Lowering, node: Any) -> Results:
    """From the lower triangle, as LAPACK takes it."""
    source, (whole, pivots, info) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    plain, turned = work.read(source), work.read(source, transposed=True)
    work.line(f"a = tl.where(row >= col, {plain}, {turned})")
    size = work.number(source.shape[-1])
    work.call(["a", "pivots", "info"], "_ldl", "a", "row", "col", size)
    found: Results = [
        work.write("a", whole),
        work.write_line("pivots", pivots),
        work.write_number("info", info),
    ]
    work.finish()
    return found


def _ldl_solve(low: Lowering, node: Any) -> Value:
    source, pivots, right = (low.value(one) for one in node.args[:3])
    ((shape, dtype),) = results_of(node)
    work = Matrices(low, shape[:-2], source.shape[-2:], shape[-1])
    arguments = (work.read(source), work.read_line(pivots), work.read(right, "far"))
    size = work.number(source.shape[-1])
    work.call(["x"], "_ldl_solve", *arguments, "row", "col", size)
    found = work.write("x", (shape, dtype), "far")
    work.finish()
    return found


def _eig(low: Lowering, node: Any) -> Results:
    """One matrix a program: a block holds it once per eigenvalue."""
    source, fakes = low.value(node.args[0]), node.meta["val"]
    work = Matrices(low, source.shape[:-2], source.shape[-2:], alone=True)
    size = work.number(source.shape[-1])
    matrix = work.read(source)
    work.call(["real", "imaginary"], "_eigenvalues", matrix, "row", "col", size)
    found: Results = [None, None]
    kinds = [str(fake.dtype).removeprefix("torch.") for fake in fakes]
    shapes: list[Shape] = [(*sizes_of(fake.shape), 2) for fake in fakes]
    work.line("line = tl.permute(tl.where(row == 0, real, imaginary), (0, 2, 1))")
    found[0] = work.write("line", (shapes[0], parts_of(fakes[0])))
    if 1 in used(node):
        arguments = (matrix, "real", "imaginary", "row", "col", size, "SIDE")
        work.call(["x", "y"], "_eigenvectors", *arguments)
        work.line("x = tl.permute(x, (2, 1, 0))")
        work.line("y = tl.permute(y, (2, 1, 0))")
        found[1] = work.write_pairs("x", "y", (shapes[1], parts_of(fakes[1])))
    work.finish()
    return [
        None if one is None else viewed(low, one, kind)
        for one, kind in zip(found, kinds, strict=True)
    ]


RULES: dict[str, Callable[..., Any]] = {
    "aten.linalg_ldl_factor_ex": _ldl_factor,
    "aten.linalg_ldl_solve": _ldl_solve,
    "aten.linalg_eig": _eig,
}

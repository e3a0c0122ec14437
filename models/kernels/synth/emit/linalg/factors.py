"""Triangular factors and what follows from them: LU, Cholesky, determinants, solutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.linalg.matrices import Matrices, option, results_of, used
from models.kernels.synth.lower import Lowering, Value
from models.kernels.synth.scalar import UnsupportedError

Results = list[Value | None]
_LU = ("lu", "pivots", "order", "sign", "info")


def _factored(work: Matrices, source: Value, is_pivoted: bool = True) -> None:
    rows, columns = (work.number(size) for size in source.shape[-2:])
    work.call(_LU, "_lu", work.read(source), "row", "col", rows, columns, str(is_pivoted))


def _lu_factor(low: Lowering, node: Any) -> Results:
    source, (whole, pivots, info) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    _factored(work, source, option(node, 1, "pivot", True))
    found: Results = [
        work.write("lu", whole),
        work.write_line("(pivots + 1)", pivots),
        work.write_number("info", info),
    ]
    work.finish()
    return found


def _unpacked(work: Matrices, node: Any, order: str) -> Results:
    (permutation, lower, upper), needed = results_of(node), used(node)
    found: Results = [None, None, None]
    columns = work.number(permutation[0][-1]) if permutation[0][-1:] else "0"
    if 0 in needed and len(permutation[0]) > 1:
        work.line(f"placed = tl.permute({order}, (0, 2, 1))")
        work.line(f"swaps = tl.where((placed == row) & (col < {columns}), 1.0, 0.0)")
        found[0] = work.write("swaps", permutation)
    elif 0 in needed:
        raise UnsupportedError("factors without a permutation")
    if 1 in needed:
        work.line("lower = tl.where(row == col, 1.0, tl.where(row > col, lu, 0.0))")
        found[1] = work.write("lower", lower)
    if 2 in needed:
        work.line("upper = tl.where(row <= col, lu, 0.0)")
        found[2] = work.write("upper", upper)
    work.finish()
    return found


def _lu(low: Lowering, node: Any) -> Results:
    source = low.value(node.args[0])
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    if not option(node, 1, "pivot", True):
        raise UnsupportedError("an LU without pivots")
    _factored(work, source)
    return _unpacked(work, node, "order")


def _lu_unpack(low: Lowering, node: Any) -> Results:
    source, pivots = low.value(node.args[0]), low.value(node.args[1])
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    work.line(f"lu = {work.read(source)}")
    steps = work.number(pivots.shape[-1])
    work.call(["order"], "_order_of", work.read_line(pivots), "row", "col", steps)
    return _unpacked(work, node, "order")


def _det(low: Lowering, node: Any) -> Results:
    """The product of pivots; or its sign and the logarithm of its size."""
    source, needed, fakes = low.value(node.args[0]), used(node), results_of(node)
    is_logarithm = len(fakes) == 4
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    _factored(work, source)
    inside = f"col < {work.number(source.shape[-1])}"
    work.line("diagonal = tl.sum(tl.where(row == col, lu, 0.0), axis=1, keep_dims=True)")
    work.line(f"diagonal = tl.where({inside}, diagonal, 1.0)")
    work.kernel.helpers.add("_times")
    found: Results = [None] * len(fakes)
    if is_logarithm:
        work.line("signs = tl.where(diagonal > 0.0, 1.0, tl.where(diagonal < 0.0, -1.0, 0.0))")
        work.line("signs = tl.where(diagonal == diagonal, signs, diagonal)")
        work.line("turned = sign * tl.reduce(signs, 2, _times, keep_dims=True)")
        work.line("size = tl.sum(tl.log(tl.abs(diagonal)), axis=2, keep_dims=True)")
        found[0] = work.write_number("turned", fakes[0])
        found[1] = work.write_number("size", fakes[1])
    else:
        work.line("whole = sign * tl.reduce(diagonal, 2, _times, keep_dims=True)")
        found[0] = work.write_number("whole", fakes[0])
    if len(fakes) - 2 in needed:
        found[-2] = work.write("lu", fakes[-2])
    if len(fakes) - 1 in needed:
        found[-1] = work.write_line("(pivots + 1)", fakes[-1])
    work.finish()
    return found


def _inverse(low: Lowering, node: Any) -> Results:
    source, (inverse, info) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    _factored(work, source)
    size = work.number(source.shape[-1])
    work.line("x = tl.where(order == col, 1.0, 0.0)")
    work.call(["x"], "_substitute", "lu", "x", "row", "col", size, "False", "True")
    work.call(["x"], "_substitute", "lu", "x", "row", "col", size, "True", "False")
    found: Results = [work.write("x", inverse), work.write_number("info", info)]
    work.finish()
    return found


def _solve(low: Lowering, node: Any) -> Results:
    """A X = B, or X A = B by transposed matrices; a vector is a matrix of one column."""
    source, right, fakes = low.value(node.args[0]), low.value(node.args[1]), results_of(node)
    is_left = option(node, 2, "left", True)
    is_vector = len(fakes[0][0]) < len(source.shape)
    if is_vector:
        from models.kernels.synth.emit.views import reshaped

        right = reshaped(low, right, (*right.shape, 1))
    wide = right.shape[-1] if is_left else right.shape[-2]
    batch = fakes[0][0][:-1] if is_vector else fakes[0][0][:-2]
    work = Matrices(low, batch, source.shape[-2:], wide)
    size = work.number(source.shape[-1])
    matrix = work.read(source, transposed=not is_left)
    work.call(_LU, "_lu", matrix, "row", "col", size, size, "True")
    work.call(["x"], "_ordered", work.read(right, "far", not is_left), "order")
    work.call(["x"], "_substitute", "lu", "x", "row", "col", size, "False", "True")
    work.call(["x"], "_substitute", "lu", "x", "row", "col", size, "True", "False")
    found: Results = [None] * 4
    if is_vector:
        work.line("line = tl.sum(tl.where(far == 0, x, 0.0), axis=2, keep_dims=True)")
        found[0] = work.write_line("line", fakes[0], "row")
    else:
        found[0] = work.write("x", fakes[0], "far", not is_left)
    needed = used(node)
    if {1, 2} & needed and not is_left:
        raise UnsupportedError("factors of a system from the right")
    if 1 in needed:
        found[1] = work.write("lu", fakes[1])
    if 2 in needed:
        found[2] = work.write_line("(pivots + 1)", fakes[2])
    if 3 in needed:
        found[3] = work.write_number("info", fakes[3])
    work.finish()
    return found


def _lu_solve(low: Lowering, node: Any) -> Value:
    """A = P L U is given; adjoint: A^T. From the right, the other of the two, transposed."""
    source, pivots, right = (low.value(one) for one in node.args[:3])
    ((shape, dtype),) = results_of(node)
    is_left = option(node, 3, "left", True)
    is_adjoint = option(node, 4, "adjoint", False) == is_left
    work = Matrices(low, shape[:-2], source.shape[-2:], shape[-1] if is_left else shape[-2])
    size = work.number(source.shape[-1])
    work.call(["order"], "_order_of", work.read_line(pivots), "row", "col", size)
    x = work.read(right, "far", not is_left)
    lu = work.read(source)
    turned = work.read(source, transposed=True) if is_adjoint else ""
    if is_adjoint:
        work.call(["x"], "_substitute", turned, x, "row", "col", size, "False", "False")
        work.call(["x"], "_substitute", turned, "x", "row", "col", size, "True", "True")
        work.call(["x"], "_reordered", "x", "row", "order", size)
    else:
        work.call(["x"], "_ordered", x, "order")
        work.call(["x"], "_substitute", lu, "x", "row", "col", size, "False", "True")
        work.call(["x"], "_substitute", lu, "x", "row", "col", size, "True", "False")
    found = work.write("x", (shape, dtype), "far", not is_left)
    work.finish()
    return found


def _triangular_solve(low: Lowering, node: Any) -> Results:
    right, source = low.value(node.args[0]), low.value(node.args[1])
    is_upper = option(node, 2, "upper", True)
    is_transposed = option(node, 3, "transpose", False)
    is_unit = option(node, 4, "unitriangular", False)
    shape, dtype = results_of(node)[0]
    work = Matrices(low, shape[:-2], source.shape[-2:], shape[-1])
    matrix, x = work.read(source, transposed=is_transposed), work.read(right, "far")
    size, upper = work.number(source.shape[-1]), str(is_upper != is_transposed)
    work.call(["x"], "_substitute", matrix, x, "row", "col", size, upper, str(is_unit))
    found = work.write("x", (shape, dtype), "far")
    work.finish()
    return [found, source]


def _cholesky(low: Lowering, node: Any) -> Any:
    source, fakes = low.value(node.args[0]), results_of(node)
    is_upper = option(node, 1, "upper", False)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    size = work.number(source.shape[-1])
    matrix = work.read(source, transposed=is_upper)
    work.call(["factor", "info"], "_cholesky", matrix, "row", "col", size)
    found: Results = [work.write("factor", fakes[0], transposed=is_upper)]
    if len(fakes) > 1:
        found.append(work.write_number("info", fakes[1]))
    work.finish()
    return found if len(fakes) > 1 else found[0]


def _cholesky_solve(low: Lowering, node: Any) -> Value:
    """L L^T X = B; without a right hand side, the inverse."""
    is_inverse = "inverse" in str(node.target)
    source = low.value(node.args[0 if is_inverse else 1])
    is_upper = option(node, 1 if is_inverse else 2, "upper", False)
    ((shape, dtype),) = results_of(node)
    work = Matrices(low, shape[:-2], source.shape[-2:], shape[-1])
    size = work.number(source.shape[-1])
    lower = work.read(source, transposed=is_upper)
    upper = work.read(source, transposed=not is_upper)
    if is_inverse:
        work.line("x = tl.where(row == far, 1.0, 0.0)")
    else:
        work.line(f"x = {work.read(low.value(node.args[0]), 'far')}")
    work.call(["x"], "_substitute", lower, "x", "row", "col", size, "False", "False")
    work.call(["x"], "_substitute", upper, "x", "row", "col", size, "True", "False")
    found = work.write("x", (shape, dtype), "far")
    work.finish()
    return found


def _matrix_exp(low: Lowering, node: Any) -> Value:
    source, (fake,) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    size = work.number(source.shape[-1])
    work.call(["whole"], "_matrix_exp", work.read(source), "row", "col", size)
    found = work.write("whole", fake)
    work.finish()
    return found


RULES: dict[str, Callable[..., Any]] = {
    "aten.linalg_lu_factor_ex": _lu_factor,
    "aten.linalg_lu": _lu,
    "aten.lu_unpack": _lu_unpack,
    "aten._linalg_det": _det,
    "aten._linalg_slogdet": _det,
    "aten.linalg_inv_ex": _inverse,
    "aten._linalg_solve_ex": _solve,
    "aten.linalg_lu_solve": _lu_solve,
    "aten.triangular_solve": _triangular_solve,
    "aten.linalg_cholesky_ex": _cholesky,
    "aten.cholesky": _cholesky,
    "aten.cholesky_solve": _cholesky_solve,
    "aten.cholesky_inverse": _cholesky_solve,
    "aten.linalg_matrix_exp": _matrix_exp,
}

"""Orthogonal factors: Householder's QR, Jacobi's singular values and symmetric eigenvalues."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.emit.linalg.factors import Results
from models.kernels.synth.emit.linalg.matrices import Matrices, option, results_of, used
from models.kernels.synth.lower import Lowering, Value


def _geqrf(low: Lowering, node: Any) -> Results:
    source, (whole, tau) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    rows, columns = (work.number(size) for size in source.shape[-2:])
    work.call(["a", "tau"], "_reflectors", work.read(source), "row", "col", rows, columns)
    found: Results = [work.write("a", whole), work.write_line("tau", tau)]
    work.finish()
    return found


def _qr(low: Lowering, node: Any) -> Results:
    source, (first, second) = low.value(node.args[0]), results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    rows, columns = (work.number(size) for size in source.shape[-2:])
    work.call(["a", "tau"], "_reflectors", work.read(source), "row", "col", rows, columns)
    if option(node, 1, "mode", "reduced") == "r":
        q = work.write_line("tau", first)
    else:
        work.line("x = tl.where(row == col, 1.0, 0.0) + a * 0.0")
        steps = f"tl.minimum({rows}, {columns})"
        work.call(["x"], "_reflected", "a", "tau", "x", "row", "col", steps, "False")
        q = work.write("x", first)
    work.line("upper = tl.where(row <= col, a, 0.0)")
    found: Results = [q, work.write("upper", second)]
    work.finish()
    return found


def _householder_product(low: Lowering, node: Any) -> Value:
    source, tau = low.value(node.args[0]), low.value(node.args[1])
    (fake,) = results_of(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    matrix, factors = work.read(source), work.read_line(tau)
    work.line(f"x = tl.where(row == col, 1.0, 0.0) + {matrix} * 0.0")
    steps = work.number(tau.shape[-1])
    work.call(["x"], "_reflected", matrix, factors, "x", "row", "col", steps, "False")
    found = work.write("x", fake)
    work.finish()
    return found


def _ormqr(low: Lowering, node: Any) -> Value:
    source, tau, right = (low.value(one) for one in node.args[:3])
    is_left, is_transposed = option(node, 3, "left", True), option(node, 4, "transpose", False)
    ((shape, dtype),) = results_of(node)
    wide = shape[-1] if is_left else shape[-2]
    work = Matrices(low, shape[:-2], source.shape[-2:], wide)
    x, steps = work.read(right, "far", not is_left), work.number(tau.shape[-1])
    # From the right, C Q is the transpose of Q^T C^T.
    turned = str(is_transposed == is_left)
    matrix, factors = work.read(source), work.read_line(tau)
    work.call(["x"], "_reflected", matrix, factors, x, "row", "col", steps, turned)
    found = work.write("x", (shape, dtype), "far", not is_left)
    work.finish()
    return found


def _svd(low: Lowering, node: Any) -> Results:
    source, (first, middle, last) = low.value(node.args[0]), results_of(node)
    needed = used(node)
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    rows, columns = (work.number(size) for size in source.shape[-2:])
    matrix = work.read(source)
    work.call(["av", "s", "v"], "_singular", matrix, "row", "col", columns, "SIDE")
    found: Results = [None, None, None]
    if 0 in needed and len(first[0]) == len(source.shape):
        work.call(["u"], "_completed", "av", "s", "row", "col", rows, columns)
        found[0] = work.write("u", first)
    elif 0 in needed:
        found[0] = work.write_line("s", first)
    if 1 in needed:
        found[1] = work.write_line("s", middle)
    if 2 in needed and len(last[0]) == len(source.shape):
        found[2] = work.write("v", last, transposed=True)
    elif 2 in needed:
        found[2] = work.write_line("s", last)
    work.finish()
    return found


def _eigh(low: Lowering, node: Any) -> Results:
    source, (values, vectors) = low.value(node.args[0]), results_of(node)
    is_upper = option(node, 1, "UPLO", "L") == "U"
    work = Matrices(low, source.shape[:-2], source.shape[-2:])
    size = work.number(source.shape[-1])
    plain, turned = work.read(source), work.read(source, transposed=True)
    one, other = (plain, turned) if is_upper else (turned, plain)
    work.line(f"whole = tl.where(row <= col, {one}, {other})")
    work.call(["values", "v"], "_symmetric", "whole", "row", "col", size, "SIDE")
    found: Results = [work.write_line("values", values), None]
    if 1 in used(node):
        found[1] = work.write("v", vectors)
    work.finish()
    return found


RULES: dict[str, Callable[..., Any]] = {
    "aten.geqrf": _geqrf,
    "aten.linalg_qr": _qr,
    "aten.linalg_householder_product": _householder_product,
    "aten.ormqr": _ormqr,
    "aten._linalg_svd": _svd,
    "prims.svd": _svd,
    "aten._linalg_eigh": _eigh,
}

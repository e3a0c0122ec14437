"""Decompositions of linear algebra, where torch's own read data or fail on symbolic sizes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any


def solve_triangular(
    self: Any, right: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    """Solve with a triangle: A X = B, or X A = B by transposed right hand sides."""
    import torch

    batch = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        self.shape[:-2], right.shape[:-2]
    )
    matrix = self.expand(*batch, *self.shape[-2:])
    known = right.expand(*batch, *right.shape[-2:])
    known = known if left else known.mT
    found = torch.ops.aten.triangular_solve(known, matrix, upper, not left, unitriangular)[0]
    return found if left else found.mT


def pseudoinverse(self: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Any:
    """Invert the singular values, or eigenvalues, above the larger of two thresholds."""
    import torch

    rows, columns = self.shape[-2], self.shape[-1]
    if self.numel() == 0:
        return self.new_zeros([*self.shape[:-2], columns, rows])
    if hermitian:
        values, vectors = torch.ops.aten._linalg_eigh(self)
        sizes = values.abs()
        left, right = vectors, vectors
    else:
        right, values, turned = torch.ops.aten._linalg_svd(self, False)
        sizes, left = values, turned.mT
    default = torch.finfo(self.dtype).eps * max(rows, columns)
    if rtol is not None:
        share = rtol.unsqueeze(-1) * sizes.amax(-1, keepdim=True)
    elif atol is not None:
        plain = default * sizes.amax(-1, keepdim=True)
        share = torch.where(atol.unsqueeze(-1) > 0, torch.zeros_like(plain), plain)
    else:
        share = default * sizes.amax(-1, keepdim=True)
    least = share if atol is None else torch.maximum(atol.unsqueeze(-1), share)
    inverse = torch.where(sizes > least, 1 / values, torch.zeros_like(values))
    return (left * inverse.unsqueeze(-2)) @ right.mT


def least_squares(
    self: Any, right: Any, rcond: float | None = None, *, driver: str | None = None
) -> list[Any]:
    """Solve by singular values: the shortest solution.

    Residuals are given for every tall matrix, as ATen does for those of full rank; whether a
    matrix is one only its values say.
    """
    import torch

    driver = driver or "gelsy"
    rows, columns = self.shape[-2], self.shape[-1]
    known = right if right.dim() == self.dim() else right.unsqueeze(-1)
    left, values, turned = torch.ops.aten._linalg_svd(self, False)
    share = torch.finfo(self.dtype).eps * max(rows, columns) if rcond is None else rcond
    is_kept = values > share * values.amax(-1, keepdim=True)
    inverse = torch.where(is_kept, 1 / values, torch.zeros_like(values))
    solution = turned.mT @ (inverse.unsqueeze(-1) * (left.mT @ known))
    nothing = self.new_empty([0])
    residuals = nothing
    if rows > columns and driver != "gelsy":
        residuals = (self @ solution - known).square().sum(-2)
    rank = self.new_empty([0], dtype=torch.int64)
    if driver != "gels":
        rank = is_kept.sum(-1)
    if right.dim() != self.dim():
        solution = solution.squeeze(-1)
    return [solution, residuals, rank, values if driver in ("gelss", "gelsd") else nothing]


def multi_dot(tensors: Any) -> Any:
    """Multiply matrices from left to right; vectors stand at the ends only."""
    import torch

    whole = tensors[0]
    for tensor in tensors[1:]:
        whole = torch.matmul(whole, tensor)
    return whole


_LARGEST = (1, 2, float("inf"))
"""Norms of matrices that are the largest of sums or singular values."""


def _is_void(tensor: Any, ord: Any, dim: Any) -> bool:
    """Whether a norm is the largest of no sums, which torch takes for 0."""
    is_matrix = tensor.dim() == 2 if dim is None else isinstance(dim, list | tuple) and len(dim) > 1
    return is_matrix and tensor.numel() == 0 and ord in _LARGEST


def _at_least_zero(found: Any, ord: Any) -> Any:
    """Lift the largest of no sums, -inf, to 0: open sizes may be 0 when the program runs."""
    return found.clamp_min(0) if ord in _LARGEST else found


def matrix_norm(
    self: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """Take torch's reference of a norm of matrices, 0 where it has none of nothing."""
    from torch._refs import linalg

    if _is_void(self, ord, dim):
        return self.sum(dim, keepdim=keepdim, dtype=dtype)
    return _at_least_zero(linalg.matrix_norm(self, ord, dim, keepdim, dtype=dtype), ord)


def norm(
    self: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Any:
    """Take torch's reference of a norm of vectors or matrices, 0 where it has none of nothing."""
    from torch._refs import linalg

    if _is_void(self, ord, dim):
        return self.sum((0, 1) if dim is None else dim, keepdim=keepdim, dtype=dtype)
    return _at_least_zero(linalg.norm(self, ord, dim, keepdim, dtype=dtype), ord)


def linear_functions() -> dict[Any, Callable[..., Any]]:
    """Return what stands for functions of torch whose own code reads sizes as numbers."""
    import torch

    return {
        torch.linalg.multi_dot: multi_dot,
        torch.linalg.matrix_norm: matrix_norm,
        torch.linalg.norm: norm,
    }


@lru_cache(maxsize=1)
def install_shapes() -> Any:
    """Tell torch the shapes of results that it cannot trace; once per process.

    Returns:
        What holds the registration: it ends with this object.
    """
    import torch

    def geqrf(self: Any) -> tuple[Any, Any]:
        size = min(self.shape[-2], self.shape[-1])
        return torch.empty_like(self), self.new_empty([*self.shape[:-2], size])

    library = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    library.impl("geqrf", geqrf, "Meta")  # type: ignore[no-untyped-call]
    return library


def linear_rules() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions by overload."""
    import torch

    aten = torch.ops.aten
    install_shapes()
    return {
        aten.linalg_solve_triangular.default: solve_triangular,
        aten.linalg_pinv.atol_rtol_tensor: pseudoinverse,
        aten.linalg_lstsq.default: least_squares,
    }

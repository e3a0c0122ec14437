"""Functions over observations and grids that torch writes with checks of values or sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def cov(input: Any, *, correction: Any = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """Return the covariance of variables (rows) over weighted observations (columns)."""
    import torch

    table = input if input.dim() == 2 else input.reshape(1, -1)
    weights = fweights
    if aweights is not None:
        weights = aweights if fweights is None else fweights * aweights
    if weights is None:
        total: Any = table.shape[1]
        centred = table - (table.sum(1) / total)[:, None]
        product = centred @ centred.t()
        freedom = torch.sym_max(total - correction, 0)  # type: ignore[no-untyped-call]
        return (product / freedom).squeeze()
    total = weights.sum()
    centred = table - ((table * weights).sum(1) / total)[:, None]
    product = (centred * weights) @ centred.t()
    if aweights is not None and correction != 0:
        freedom = total - correction * (weights * aweights).sum() / total
    else:
        freedom = total - correction
    return (product / freedom.clamp(min=0)).squeeze()


def corrcoef(input: Any) -> Any:
    """Return the covariance over the product of standard deviations, within [-1, 1]."""
    covariance = cov(input)
    if covariance.dim() == 0:
        return covariance / covariance
    deviation = covariance.diagonal().sqrt()
    return (covariance / deviation[:, None] / deviation[None, :]).clamp(-1, 1)


def kron(self: Any, other: Any) -> Any:
    """Return every element of the first times the whole of the second."""
    rank = max(self.dim(), other.dim())
    left, right = _padded(self, rank), _padded(other, rank)
    sizes = [one * two for one, two in zip(left.shape, right.shape, strict=True)]
    for dim in range(rank):
        left, right = left.unsqueeze(2 * dim + 1), right.unsqueeze(2 * dim)
    return (left * right).reshape(sizes)


def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    """Return distances of rows; ATen's choice of a product for many rows is no other result."""
    import torch

    del compute_mode
    return torch.ops.aten._cdist_forward(x1, x2, p, None)


def _padded(tensor: Any, rank: int) -> Any:
    for _ in range(rank - tensor.dim()):
        tensor = tensor.unsqueeze(0)
    return tensor


def gradient(
    input: Any, *, spacing: Any = None, dim: Any = None, edge_order: int = 1
) -> tuple[Any, ...]:
    """Return central differences inside and one-sided ones at the edges, by dimension.

    Source: Fornberg (1988), "Generation of Finite Difference Formulas on Arbitrarily Spaced
    Grids", weights of three points.
    """
    import torch

    dims = list(range(input.dim())) if dim is None else dim
    dims = [dims] if isinstance(dims, int) else list(dims)
    steps = spacing if isinstance(spacing, Sequence) else [spacing] * len(dims)
    results = []
    for place, step in zip(dims, steps, strict=True):
        moved = input.movedim(place, -1)
        size = moved.shape[-1]
        if isinstance(step, torch.Tensor):
            gaps = step[1:] - step[:-1]
            found = _uneven(moved, gaps, size, edge_order)
        else:
            found = _even(moved, 1 if step is None else step, size, edge_order)
        results.append(found.movedim(-1, place))
    return tuple(results)


def _piece(tensor: Any, start: Any, size: Any) -> Any:
    return tensor.narrow(-1, start, size)


def _even(values: Any, step: Any, size: Any, edge_order: int) -> Any:
    import torch

    def at(place: Any) -> Any:
        return _piece(values, place, 1)

    inner = (_piece(values, 2, size - 2) - _piece(values, 0, size - 2)) / (2 * step)
    if edge_order == 1:
        first, last = (at(1) - at(0)) / step, (at(size - 1) - at(size - 2)) / step
    else:
        first = (at(1) * 2 - at(0) * 1.5 - at(2) * 0.5) / step
        last = (at(size - 1) * 1.5 - at(size - 2) * 2 + at(size - 3) * 0.5) / step
    return torch.cat([first, inner, last], -1)


def _uneven(values: Any, gaps: Any, size: Any, edge_order: int) -> Any:
    import torch

    def at(place: Any) -> Any:
        return _piece(values, place, 1)

    def gap(place: Any) -> Any:
        return _piece(gaps, place, 1)

    before, after = _piece(gaps, 0, size - 2), _piece(gaps, 1, size - 2)
    inner = (
        _piece(values, 0, size - 2) * (-after / (before * (before + after)))
        + _piece(values, 1, size - 2) * ((after - before) / (before * after))
        + _piece(values, 2, size - 2) * (before / (after * (before + after)))
    )
    if edge_order == 1:
        first = (at(1) - at(0)) / gap(0)
        last = (at(size - 1) - at(size - 2)) / gap(size - 2)
    else:
        first = _edge([at(0), at(1), at(2)], gap(0), gap(1))
        last = -_edge([at(size - 1), at(size - 2), at(size - 3)], gap(size - 2), gap(size - 3))
    return torch.cat([first, inner, last], -1)


def _edge(values: list[Any], near: Any, far: Any) -> Any:
    """Return the slope at the first of three points, by the gaps to the second and the third."""
    both = near + far
    return (
        values[0] * (-(2 * near + far) / (near * both))
        + values[1] * (both / (near * far))
        + values[2] * (-near / (far * both))
    )


def statistics_functions() -> dict[Any, Callable[..., Any]]:
    """Return the functions by torch's own."""
    import torch

    return {
        torch.cov: cov,
        torch.cdist: cdist,
        torch.corrcoef: corrcoef,
        torch.kron: kron,
        torch.gradient: gradient,
    }

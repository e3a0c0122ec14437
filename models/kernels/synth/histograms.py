"""Functions over intervals and segments, by comparisons that a trace can follow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_numbers = range
"""Python's own, where a parameter of the operator has its name."""


def _edges(line: Any, bins: Any, ends: Any) -> Any:
    """Return the edges of equal intervals, as numpy's histogram has them, or those given."""
    import torch

    if isinstance(bins, torch.Tensor):
        return bins
    if ends is None and line.numel():
        least, most = line.min(), line.max()
    else:
        first, last = ends or (0.0, 1.0)
        least, most = (torch.full((), one, dtype=line.dtype) for one in (first, last))
    is_empty = least == most
    least, most = torch.where(is_empty, least - 0.5, least), torch.where(is_empty, most + 0.5, most)
    places = torch.arange(bins + 1, device=line.device)
    step = (most - least) / bins
    upwards, downwards = least + places * step, most - (bins - places) * step
    return torch.where(places < (bins + 1) // 2, upwards, downwards)


def _intervals(line: Any, edges: Any) -> Any:
    """Return each element's interval, the last one closed; -1 outside."""
    import torch

    count = edges.shape[0] - 1
    place = torch.searchsorted(edges, line, right=True) - 1
    place = torch.where(line == edges[-1], count - 1, place)
    inside = (line >= edges[0]) & (line <= edges[-1])
    return torch.where(inside, place, -1)


def histogram(
    self: Any, bins: Any = 100, *, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """Count elements, or add their weights, by interval."""
    line = self.reshape(-1)
    edges = _edges(line, bins, range)
    weights = None if weight is None else weight.reshape(-1)
    hist = _summed(_intervals(line, edges), edges.shape[0] - 1, line, weights)
    if density:
        hist = hist / hist.sum() / (edges[1:] - edges[:-1])
    return hist, edges


def _summed(places: Any, count: Any, line: Any, weights: Any) -> Any:
    import torch

    hits = places.unsqueeze(0) == torch.arange(count, device=line.device).unsqueeze(1)
    values = torch.ones_like(line) if weights is None else weights
    return torch.where(hits, values.unsqueeze(0), torch.zeros_like(values)).sum(1)


def histogramdd(
    self: Any, bins: Any, range: Any = None, weight: Any = None, density: bool = False
) -> Any:
    """Count points by box of a grid."""
    import torch

    points = self.reshape(-1, self.shape[-1])
    listed = [bins] * points.shape[1] if isinstance(bins, int) else list(bins)
    number = len(listed)
    ends = [None] * number if range is None else [
        (range[2 * place], range[2 * place + 1]) for place in _numbers(number)
    ]  # fmt: skip
    edges = [_edges(points[:, place], one, ends[place]) for place, one in enumerate(listed)]
    sizes = [one.shape[0] - 1 for one in edges]
    flat: Any = 0
    total, inside = 1, torch.ones_like(points[:, 0], dtype=torch.bool)
    for place, size in enumerate(sizes):
        own = _intervals(points[:, place], edges[place])
        inside = inside & (own >= 0)
        flat, total = flat * size + own, total * size
    weights = None if weight is None else weight.reshape(-1)
    hist = _summed(torch.where(inside, flat, -1), total, points[:, 0], weights).reshape(sizes)
    if density:
        hist = hist / hist.sum()
        for place, one in enumerate(edges):
            shape = [1] * place + [sizes[place]] + [1] * (number - place - 1)
            hist = hist / (one[1:] - one[:-1]).reshape(shape)
    return hist, edges


def segment_reduce(
    data: Any, reduce: str, *, lengths: Any = None, indices: Any = None, offsets: Any = None,
    axis: int = 0, unsafe: bool = False, initial: Any = None,
) -> Any:  # fmt: skip
    """Reduce consecutive segments along a dimension, each masked out of the whole."""
    import torch

    if lengths is not None:
        ends = lengths.cumsum(-1)
        starts = ends - lengths
    else:
        starts, ends = offsets[..., :-1], offsets[..., 1:]
    size = data.shape[axis]
    place = torch.arange(size, device=data.device)
    inside = (place >= starts.unsqueeze(-1)) & (place < ends.unsqueeze(-1))
    for _ in _numbers(data.dim() - axis - 1):
        inside = inside.unsqueeze(-1)
    neutral = {"max": float("-inf"), "min": float("inf"), "prod": 1.0}.get(reduce, 0.0)
    terms = torch.where(inside, data.unsqueeze(axis), torch.full((), neutral, dtype=data.dtype))
    dim = axis + 1
    if reduce in ("max", "min"):
        result = terms.amax(dim) if reduce == "max" else terms.amin(dim)
        join = torch.maximum if reduce == "max" else torch.minimum
        return result if initial is None else join(result, torch.full_like(result, initial))
    if reduce == "prod":
        return terms.prod(dim) if initial is None else terms.prod(dim) * initial
    result = terms.sum(dim) if initial is None else terms.sum(dim) + initial
    if reduce == "sum":
        return result
    count = (ends - starts).reshape([*starts.shape, *[1] * (data.dim() - axis - 1)])
    mean = result / torch.where(count > 0, count, 1)
    return torch.where(count > 0, mean, float("nan") if initial is None else result)


def interval_functions() -> dict[Any, Callable[..., Any]]:
    """Return them by torch's function."""
    import torch

    return {
        torch.histogram: histogram,
        torch.histogramdd: histogramdd,
        torch.segment_reduce: segment_reduce,
        torch._segment_reduce: segment_reduce,
    }

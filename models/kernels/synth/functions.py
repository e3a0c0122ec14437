"""Functions that stand for torch's own, which ask for values or sizes while they are traced."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from models.kernels.synth.histograms import interval_functions
from models.kernels.synth.windows import window_functions


def allclose(
    self: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Whether all elements are close, read on the host."""
    import torch

    return torch.isclose(self, other, rtol, atol, equal_nan).all().item()


def equal(self: Any, other: Any) -> Any:
    """Whether shapes and all elements are equal, read on the host."""
    return tuple(self.shape) == tuple(other.shape) and (self == other).all().item()


def combinations(self: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """Select the ascending index tuples of a grid by a mask."""
    import torch

    if r == 0:
        return self.new_empty(0)
    places = torch.arange(self.shape[0], device=self.device)
    grids = torch.meshgrid([self] * r, indexing="ij")
    numbers = torch.meshgrid([places] * r, indexing="ij")
    mask = torch.ones_like(numbers[0], dtype=torch.bool)
    for one, other in itertools.pairwise(numbers):
        mask = mask & (one <= other if with_replacement else one < other)
    flat = torch.nonzero(mask.reshape(-1))[:, 0]
    return torch.stack([grid.reshape(-1)[flat] for grid in grids], 1)


def narrow(self: Any, dim: int, start: Any, length: Any) -> Any:
    """Take a range whose start may be in memory."""
    import torch

    if not isinstance(start, torch.Tensor):
        return torch.narrow(self, dim, start, length)
    size = self.shape[dim]
    first = torch.where(start < 0, start + size, start)
    return self.index_select(dim, first + torch.arange(length, device=self.device))


def tensor_split(self: Any, indices_or_sections: Any = None, dim: int = 0, **given: Any) -> Any:
    """Split into parts whose sizes differ by one at most, or at places."""
    import torch

    asked = given.get("indices", given.get("sections", indices_or_sections))
    size = self.shape[dim]
    if isinstance(asked, torch.Tensor):
        return torch.tensor_split(self, asked, dim)
    if isinstance(asked, list | tuple):
        return torch.tensor_split(self, list(asked), dim)
    base, rest = size // asked, size % asked
    ends = [
        base * place + torch.sym_min(rest, place)  # type: ignore[no-untyped-call]
        for place in range(asked + 1)
    ]
    return [self.narrow(dim, a, b - a) for a, b in itertools.pairwise(ends)]


def masked_select(self: Any, mask: Any) -> Any:
    """Select after broadcasting, so that the trace holds the sizes to be equal."""
    import torch

    first, second = torch.broadcast_tensors(self, mask)  # type: ignore[no-untyped-call]
    return torch.ops.aten.masked_select(first, second)


def histc(self: Any, bins: Any = 100, min: Any = 0, max: Any = 0) -> Any:
    """Count by interval; equal ends stand for those of the elements."""
    import torch

    return torch.ops.aten.histc(self, bins, *((0, 0) if min == max else (min, max)))


def one_hot(self: Any, num_classes: Any = -1) -> Any:
    """Compare with every class; without a number of classes, the largest is read."""
    import torch

    count = (self.max() + 1).item() if num_classes == -1 else num_classes
    places = torch.arange(count, device=self.device)
    return (self.unsqueeze(-1) == places).to(torch.int64)


def take_along_dim(self: Any, indices: Any, dim: int | None = None) -> Any:
    """Gather, the other dimensions broadcast."""
    import torch

    if dim is None:
        return self.reshape(-1).gather(0, indices.reshape(-1))
    dim = dim % self.dim()
    own, places = list(self.shape), list(indices.shape)
    for place, pair in enumerate(zip(own, places, strict=True)):
        if place != dim:
            shapes = ((one,) for one in pair)
            size = torch.broadcast_shapes(*shapes)[0]  # type: ignore[no-untyped-call]
            own[place] = places[place] = size
    return self.expand(own).gather(dim, indices.expand(places))


def unravel_index(self: Any, shape: Any) -> Any:
    """Divide out the sizes, last dimension fastest; places are int64 whatever the number is."""
    import torch

    left, parts = self.to(torch.int64), []
    for size in reversed([shape] if isinstance(shape, int) else list(shape)):
        parts.append(left % size)
        left = left // size
    return tuple(reversed(parts))


def reference_of(function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return torch's own Python form of a function; None: it has none.

    What parses arguments in C++ reads floats as numbers, and its trace holds for these alone.
    """
    import torch
    import torch._refs.nn.functional as references

    name = getattr(function, "__name__", "")
    if name not in references.__all__ or getattr(torch.nn.functional, name, None) is not function:
        return None
    found: Callable[..., Any] = getattr(references, name)
    return found


def open_integers() -> frozenset[Any]:
    """Return torch's functions among them that are served with any integers."""
    import torch

    windows = torch.signal.windows
    return frozenset({
        torch.histc, torch.histogram, torch.histogramdd, torch.eye,
        *(getattr(windows, name) for name in windows.__all__),
    })  # fmt: skip


def data_functions() -> dict[Any, Callable[..., Any]]:
    """Return them by torch's function."""
    import torch

    return {
        **interval_functions(),
        **window_functions(),
        torch.allclose: allclose,
        torch.combinations: combinations,
        torch.equal: equal,
        torch.histc: histc,
        torch.masked_select: masked_select,
        torch.narrow: narrow,
        torch.nn.functional.one_hot: one_hot,
        torch.take_along_dim: take_along_dim,
        torch.tensor_split: tensor_split,
        torch.unravel_index: unravel_index,
    }

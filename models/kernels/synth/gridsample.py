"""Samples of an image or volume at places of a grid, written over any number of dimensions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

_NEAREST = 1
"""Interpolation mode as ATen numbers it; any other is by weighted neighbours."""
_ZEROS, _REFLECTION = 0, 2
"""Padding modes as ATen numbers them; 1 is the border."""


def _unscaled(place: Any, size: Any, align_corners: bool) -> Any:
    """Return a place in [-1, 1] as one in pixels."""
    if align_corners:
        return (place + 1) / 2 * (size - 1)
    return ((place + 1) * size - 1) / 2


def _reflected(place: Any, twice_low: Any, twice_high: Any) -> Any:
    """Return a place folded back between two ends, given twice their places."""
    import torch

    low, span = twice_low / 2, (twice_high - twice_low) / 2
    moved = (place - low).abs()
    turns = torch.floor(moved / span)
    rest = moved - turns * span
    is_even = torch.remainder(turns, 2) == 0
    return torch.where(is_even, rest + low, span - rest + low)


def _padded(place: Any, size: Any, padding_mode: int, align_corners: bool) -> Any:
    """Return a place moved into the source where the padding mode asks for it."""
    if padding_mode == _REFLECTION:
        if align_corners:
            place = _reflected(place, 0, 2 * (size - 1))
        else:
            place = _reflected(place, -1, 2 * size - 1)
    if padding_mode != _ZEROS:
        place = place.clamp(0, size - 1)
    return place


def grid_sampler_3d(
    input: Any, grid: Any, interpolation_mode: int, padding_mode: int, align_corners: bool
) -> Any:
    """Return the weighted neighbours of every place of the grid; outside counts as zero."""
    import torch

    rank, sizes = input.dim() - 2, input.shape[2:]
    kind = torch.float64 if input.dtype == torch.float64 else torch.float32
    places = [
        _padded(
            _unscaled(grid[..., rank - 1 - d].to(kind), sizes[d], align_corners),
            sizes[d], padding_mode, align_corners,
        )
        for d in range(rank)
    ]  # fmt: skip
    if interpolation_mode == _NEAREST:
        return _taken(input, [torch.round(place) for place in places])
    starts = [torch.floor(place) for place in places]
    result = None
    for corner in product((0, 1), repeat=rank):
        at = [start + step for start, step in zip(starts, corner, strict=True)]
        weight = None
        for place, start, step in zip(places, starts, corner, strict=True):
            share = place - start if step else start + 1 - place
            weight = share if weight is None else weight * share
        assert weight is not None
        part = _taken(input, at) * weight.unsqueeze(1)
        result = part if result is None else result + part
    assert result is not None
    return result.to(input.dtype)


def _taken(source: Any, places: list[Any]) -> Any:
    """Return the channels at whole places, of shape (batch, channels, ...); zero outside."""
    import torch

    inside, whole = None, []
    for place, size in zip(places, source.shape[2:], strict=True):
        test = (place >= 0) & (place <= size - 1)
        inside = test if inside is None else inside & test
        whole.append(torch.where(test, place, torch.zeros_like(place)).to(torch.int64).unsqueeze(1))
    assert inside is not None
    lead = [1 for _ in places]
    batch = torch.arange(source.shape[0], device=source.device).reshape(-1, 1, *lead)
    channel = torch.arange(source.shape[1], device=source.device).reshape(1, -1, *lead)
    found = source[(batch, channel, *whole)]
    return torch.where(inside.unsqueeze(1), found, torch.zeros_like(found))


def grid_sample(
    input: Any, grid: Any, mode: str = "bilinear", padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Any:  # fmt: skip
    """Return the samples, without ATen's check of the grid's last size."""
    import torch

    modes = ("bilinear", "nearest", "bicubic").index(mode)
    padding = ("zeros", "border", "reflection").index(padding_mode)
    aligned = bool(align_corners)
    if input.dim() == 4:
        return torch.ops.aten.grid_sampler_2d(input, grid, modes, padding, aligned)
    return grid_sampler_3d(input, grid, modes, padding, aligned)


def grid_functions() -> dict[Any, Callable[..., Any]]:
    """Return the functions by torch's own."""
    import torch
    from torch.nn import functional

    return {functional.grid_sample: grid_sample, torch.grid_sampler_3d: grid_sampler_3d}


def grid_rules() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions by overload."""
    import torch

    return {torch.ops.aten.grid_sampler_3d.default: grid_sampler_3d}

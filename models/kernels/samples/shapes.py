"""Other shapes from known samples: one size of a sample is replaced everywhere. Needs torch.

No operator is named: whatever ATen accepts after the replacement is a sample. Values are those
of the sample, drawn again in another order, so indices stay in range and domains hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from models.kernels.samples.layouts import map_tensors

SIZES = (0, 1, 2, 31, 33, 127, 257, 1025)
"""Empty, one, and odd sizes on both sides of the edges of blocks of 32, 128, 256 and 1,024."""
LARGE_NUMEL = 1_048_577
"""One element more than the largest block that Triton allows (2**20)."""
_MOST_NUMEL = 2_200_000
_MOST_NEW_NUMEL = 70_000


def _sizes_of(value: Any) -> list[int]:
    import torch

    found: list[int] = []
    if isinstance(value, torch.Tensor):
        return list(value.shape)
    if isinstance(value, (list, tuple)):
        for item in value:
            found += _sizes_of(item)
    if isinstance(value, dict):
        for item in value.values():
            found += _sizes_of(item)
    return found


def _refilled(tensor: Any, shape: list[int], generator: Any) -> Any:
    import torch

    total = 1
    for size in shape:
        total *= size
    values = tensor.detach().reshape(-1)
    if total == 0:
        return torch.empty(shape, dtype=tensor.dtype)
    if not len(values):
        return torch.zeros(shape, dtype=tensor.dtype)
    places = torch.randint(len(values), (total,), generator=generator)
    return values[places].reshape(shape)


def _with_size(args: Any, kwargs: Any, old: int, new: int, seed: int) -> Any:
    import torch

    generator = torch.Generator().manual_seed(seed)
    largest = 0

    def change(tensor: Any) -> Any:
        nonlocal largest
        if tensor.layout != torch.strided or old not in tensor.shape:
            return tensor
        shape = [new if size == old else size for size in tensor.shape]
        numel = 1
        for size in shape:
            numel *= size
        largest = max(largest, numel)
        return tensor if numel > _MOST_NUMEL else _refilled(tensor, shape, generator)

    changed = map_tensors(args, change), map_tensors(kwargs, change)
    return changed, largest


def _large(ndim: int) -> list[int]:
    """Return a shape of the same rank with more than 2**20 elements, odd where it matters.

    The rank stays because wrappers choose programs by it; no size is 1, which would be another.
    """
    if ndim < 2:
        return [LARGE_NUMEL]
    side = math.isqrt(LARGE_NUMEL >> (ndim - 2)) | 1
    return [2] * (ndim - 2) + [side, side + 2]


def reads_unchecked(args: Any, kwargs: Any) -> bool:
    """Whether ATen may read beside memory instead of refusing a call, as `embedding_bag` does.

    It takes floats by places in bags: places without any bag, or a last offset that is the only
    one, are read unchecked, and the process dies or gives what happened to lie there.
    """
    import torch

    def tensors(values: Any) -> list[Any]:
        return [one for one in values if isinstance(one, torch.Tensor)]

    given, named = tensors(args), tensors(kwargs.values())
    places = [one for one in given if one.dtype in (torch.int32, torch.int64)]
    bags = [one for one in named if one.dtype in (torch.int32, torch.int64)]
    has_floats = any(one.is_floating_point() for one in given)
    if has_floats and any(one.numel() for one in places) and not all(one.numel() for one in bags):
        return True
    return bool(kwargs.get("include_last_offset")) and any(one.shape == (1,) for one in bags)


def resized(
    args: tuple[Any, ...], kwargs: dict[str, Any], seed: int, is_elementwise: bool
) -> Iterator[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Yield (note, args, kwargs) with one distinct size replaced by each of `SIZES`.

    Args:
        args: Arguments of a sample.
        kwargs: Its keyword arguments.
        seed: Seed of the order of values.
        is_elementwise: Also make a sample of `LARGE_NUMEL` elements or more in the rank of the
            first tensor, and one of rank 0.
    """
    import torch

    sizes = sorted(set(_sizes_of(args) + _sizes_of(kwargs)))
    for old in sizes[:3]:
        for new in SIZES:
            if new == old:
                continue
            (new_args, new_kwargs), largest = _with_size(args, kwargs, old, new, seed + new)
            if largest <= _MOST_NEW_NUMEL and not reads_unchecked(new_args, new_kwargs):
                yield f"{old}to{new}", new_args, new_kwargs
    first = args[0] if args else None
    if not is_elementwise or not isinstance(first, torch.Tensor):
        return
    generator = torch.Generator().manual_seed(seed)
    for note, shape in (("0d", []), ("large", _large(first.ndim))):

        def change(tensor: Any, shape: list[int] = shape) -> Any:
            return _refilled(tensor, shape, generator)

        yield note, map_tensors(args, change), map_tensors(kwargs, change)

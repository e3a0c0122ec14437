"""The same values in another layout: what a wrapper must not take for contiguous. Needs torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

LAYOUTS = ("transposed", "sliced", "stride0", "channels_last")


def map_tensors(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return arguments with every dense tensor changed, lists and tuples rebuilt."""
    import torch

    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, list):
        return [map_tensors(item, change) for item in value]
    # Named results of torch (sort, cummin) are subclasses of tuple.
    if isinstance(value, tuple) and not isinstance(value, torch.Size):
        return tuple(map_tensors(item, change) for item in value)
    if isinstance(value, dict):
        return {key: map_tensors(item, change) for key, item in value.items()}
    return value


def _transposed(tensor: Any) -> Any:
    import torch

    if tensor.ndim < 2:
        return tensor
    order = list(reversed(range(tensor.ndim)))
    turned = torch.empty([tensor.shape[dim] for dim in order], dtype=tensor.dtype)
    turned.permute(order).copy_(tensor)
    return turned.permute(order)


def sliced(tensor: Any) -> Any:
    """Return every second element of a larger storage, from the fourth on."""
    import torch

    if tensor.ndim == 0:
        holder = torch.zeros(5, dtype=tensor.dtype)
        view = holder[3]
    else:
        shape = list(tensor.shape)
        shape[-1] = 2 * shape[-1] + 4
        holder = torch.zeros(shape, dtype=tensor.dtype)
        view = holder[..., 3 : 3 + 2 * tensor.shape[-1] : 2]
    view.copy_(tensor)
    return view


def _stride0(tensor: Any) -> Any:
    """The first element along the last dimension, repeated without memory."""
    if tensor.ndim == 0 or tensor.shape[-1] < 2:
        return tensor
    return tensor[..., :1].clone().expand(tensor.shape)


def _channels_last(tensor: Any) -> Any:
    import torch

    if tensor.ndim not in (4, 5):
        return tensor
    kind = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
    return tensor.contiguous(memory_format=kind)


_CHANGES = {"transposed": _transposed, "sliced": sliced, "stride0": _stride0,
            "channels_last": _channels_last}  # fmt: skip


def with_layout(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Return arguments with all tensors in a layout; None where nothing would change.

    `stride0` changes values too (it repeats them); the reference sees the same ones.
    """
    import torch

    changed = False

    def change(tensor: Any) -> Any:
        nonlocal changed
        if tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg():
            return tensor
        result = _CHANGES[name](tensor.detach())
        changed |= result.stride() != tensor.stride() or (
            result.storage_offset() != tensor.storage_offset()
        )
        return result

    new_args, new_kwargs = map_tensors(tuple(args), change), map_tensors(kwargs, change)
    return (new_args, new_kwargs) if changed else None

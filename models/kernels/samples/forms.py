"""Tensors that an operator is given to write: right ones, and those that ATen refuses.

Needs torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from models.kernels.samples.layouts import sliced

_STALE = 7
"""What a given tensor holds before: neither 0 nor what an operator is likely to compute."""
_WIDER = {"bool": "int64", "int32": "int64", "int64": "float32", "float16": "float32",
          "bfloat16": "float32", "float32": "float64"}  # fmt: skip
_NARROWER = {"int32": "bool", "int64": "bool", "float16": "int64", "bfloat16": "int64",
             "float32": "int64"}  # fmt: skip


def _stale(like: Any, **changes: Any) -> Any:
    """Return a tensor of the shape of another, full of what nobody asked for."""
    import torch

    return torch.full_like(like, _STALE, memory_format=torch.contiguous_format, **changes)


def given_outputs(
    op: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], with_layouts: bool
) -> Iterator[tuple[str, tuple[Any, ...], Any]]:
    """Yield what may be given as `out`: what is special, the arguments, the tensor or tensors.

    Args:
        op: The operator.
        args: Arguments by place; for `overlap` the first is put elsewhere.
        kwargs: Arguments by name.
        with_layouts: Beside plain tensors, also strided, empty, of wider and of narrower type,
            overlapping themselves (expanded) and overlapping the first argument (overlap).
    """
    import torch

    try:
        result = op(*args, **kwargs)
    except RuntimeError:
        return
    several = isinstance(result, tuple | list) and all(
        isinstance(one, torch.Tensor) for one in result
    )
    if several and result:
        yield "", args, tuple(_stale(one) for one in result)
    if not isinstance(result, torch.Tensor):
        return
    yield "", args, _stale(result)
    if not with_layouts:
        return
    yield "strided", args, sliced(_stale(result))
    yield "empty", args, result.new_empty((0,))
    name = str(result.dtype).removeprefix("torch.")
    if name in _WIDER:
        yield "wider", args, _stale(result, dtype=getattr(torch, _WIDER[name]))
    if name in _NARROWER:
        yield "narrower", args, _stale(result, dtype=getattr(torch, _NARROWER[name]))
    if result.ndim and result.shape[-1] > 1:
        yield "expanded", args, _stale(result[..., :1]).expand(result.shape)
    first = args[0] if args else None
    if isinstance(first, torch.Tensor) and first.numel() > 1 and _is_alike(first, result):
        shared = torch.full((first.numel() + 1,), _STALE, dtype=first.dtype)
        moved = shared[:-1].view(first.shape).copy_(first)
        yield "overlap", (moved, *args[1:]), shared[1:].view(first.shape)
        copy = first.clone(memory_format=torch.contiguous_format)
        yield "itself", (copy, *args[1:]), copy


def _is_alike(one: Any, other: Any) -> bool:
    import torch

    is_plain = one.layout == torch.strided and not one.is_conj() and not one.is_neg()
    return is_plain and one.shape == other.shape and one.dtype == other.dtype


def written_inputs(
    args: tuple[Any, ...], with_layouts: bool
) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield the arguments of in-place calls: as they are, strided, and overlapping themselves."""
    import torch

    yield "", args
    first = args[0] if args else None
    if with_layouts and isinstance(first, torch.Tensor) and _is_alike(first, first):
        yield "strided", (sliced(first), *args[1:])
        if first.ndim and first.shape[-1] > 1:
            yield "expanded", (first[..., :1].clone().expand(first.shape), *args[1:])

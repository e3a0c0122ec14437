"""Decompositions of our own, where torch's need concrete sizes or change tensors in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def constant_pad_nd(tensor: Any, pad: list[int], value: float = 0) -> Any:
    """Pad with a number, last dimension first: joins with constants, narrowing where negative."""
    import torch

    result = tensor
    for place in range(len(pad) // 2):
        dim = tensor.dim() - 1 - place
        before, after = pad[2 * place], pad[2 * place + 1]
        low, high = max(-before, 0), max(-after, 0)
        if low or high:
            result = result.narrow(dim, low, result.shape[dim] - low - high)
        parts = [result]
        for amount, at in ((before, 0), (after, len(parts))):
            if amount > 0:
                shape = [*result.shape[:dim], amount, *result.shape[dim + 1 :]]
                fill = torch.full(shape, value, dtype=tensor.dtype, device=tensor.device)
                parts.insert(at if at == 0 else len(parts), fill)
        result = torch.cat(parts, dim) if len(parts) > 1 else result
    return result.clone() if result is tensor else result


def addbmm(self: Any, first: Any, second: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Add the sum of products of matrices over the batch."""
    import torch

    total = torch.bmm(first, second).sum(0, dtype=first.dtype)
    whole = total if alpha == 1 else total * alpha
    return whole if beta == 0 else (self if beta == 1 else self * beta) + whole


def own_rules() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions by overload."""
    import torch

    return {
        torch.ops.aten.constant_pad_nd.default: constant_pad_nd,
        torch.ops.aten.addbmm.default: addbmm,
    }

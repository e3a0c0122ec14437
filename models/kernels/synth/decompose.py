"""Decompositions of our own, where torch's need concrete sizes or change tensors in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.kernels.synth.functions import data_functions
from models.kernels.synth.gridsample import grid_functions, grid_rules
from models.kernels.synth.linear import linear_functions, linear_rules
from models.kernels.synth.network import network_functions
from models.kernels.synth.primitives import convolution, open_functions
from models.kernels.synth.statistics import statistics_functions
from models.kernels.synth.training import training_rules


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


def pad(input: Any, pad: list[int], mode: str = "constant", value: Any = None) -> Any:
    """Pad; round a circle by selection, where torch copies into slices of a new tensor."""
    import torch

    if mode != "circular":
        return torch.nn.functional.pad(input, pad, mode, value)
    result = input
    for place in range(len(pad) // 2):
        dim = input.dim() - 1 - place
        before, after = pad[2 * place], pad[2 * place + 1]
        # What a negative amount takes away is no part of the circle.
        start, size = max(-before, 0), result.shape[dim] + min(before, 0) + min(after, 0)
        places = torch.arange(result.shape[dim] + before + after, device=input.device)
        places = torch.remainder(places - max(before, 0), size) + start
        result = result.index_select(dim, places)
    return result


def addbmm(self: Any, first: Any, second: Any, *, beta: float = 1, alpha: float = 1) -> Any:
    """Add the sum of products of matrices over the batch."""
    import torch

    if not first.dtype.is_floating_point:
        beta, alpha = (torch.sym_int(one) for one in (beta, alpha))  # type: ignore[no-untyped-call]
    total = torch.bmm(first, second).sum(0, dtype=first.dtype)
    whole = total if alpha == 1 else total * alpha
    return whole if beta == 0 else (self if beta == 1 else self * beta) + whole


def linalg_cross(self: Any, other: Any, *, dim: int = -1) -> Any:
    """Multiply vectors along a dimension, whose size torch has checked to be 3."""
    import torch

    first, second = torch.broadcast_tensors(self, other)  # type: ignore[no-untyped-call]
    return first.roll(-1, dim) * second.roll(-2, dim) - first.roll(-2, dim) * second.roll(-1, dim)


def own_functions() -> dict[Any, Callable[..., Any]]:
    """Return functions that stand for torch's own, which need values while they are traced."""
    import torch

    return {**open_functions(), torch.nn.functional.pad: pad, **hand_written_functions()}


def hand_written_functions() -> dict[Any, Callable[..., Any]]:
    """Return those that spell out one operator each: what they serve is reported by name."""
    return {
        **data_functions(),
        **linear_functions(),
        **network_functions(),
        **statistics_functions(),
        **grid_functions(),
    }


def own_rules() -> dict[Any, Callable[..., Any]]:
    """Return the decompositions by overload."""
    import torch

    return {
        **training_rules(),
        **grid_rules(),
        **linear_rules(),
        torch.ops.aten.constant_pad_nd.default: constant_pad_nd,
        torch.ops.aten.addbmm.default: addbmm,
        torch.ops.aten.convolution.default: convolution,
        torch.ops.aten.linalg_cross.default: linalg_cross,
    }

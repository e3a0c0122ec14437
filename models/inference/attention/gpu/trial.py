"""A trial of an attention on its device, against plain torch, before any row is trusted to it."""

from __future__ import annotations

from dataclasses import replace

import torch

from models.errors import ProjectError
from models.inference.attention.base import Attention, Piece
from models.inference.attention.reference import ReferenceAttention
from models.inference.model.architecture import DecoderConfig

# A prefix longer than one block of keys, shared by rows that fill more than a small tile.
_PREFIX, _ROWS = 80, (33, 5, 1)


class AttentionTrialError(ProjectError):
    """The kernels compute something else than plain torch."""


def try_out(
    attention: Attention, config: DecoderConfig, dtype: torch.dtype, device: torch.device
) -> float:
    """Run a prefix and sequences that share it through both; 2 steps of one layer.

    Args:
        attention: What is tried, made for this model.
        config: Shapes.
        dtype: Type of keys and values.
        device: Where they are.

    Returns:
        The largest difference.

    Raises:
        AttentionTrialError: It is larger than the type explains, or no number.
    """
    exact = ReferenceAttention(replace(config, n_layers=1), torch.float32, device)
    draws = torch.Generator().manual_seed(0)
    width = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draws).to(device, dtype)

    gains: tuple[torch.Tensor, torch.Tensor] | tuple[None, None] = (None, None)
    prefixes = [side.new_span(_PREFIX) for side in (attention, exact)]
    owns = [[side.new_span(n) for n in _ROWS] for side in (attention, exact)]
    worst = 0.0
    for is_shared in (False, True):
        qkv = normal(sum(_ROWS) if is_shared else _PREFIX, width)
        if config.has_qk_norm:
            gains = (1 + normal(config.head_dim) / 8, 1 + normal(config.head_dim) / 8)
        given = [qkv.float(), *(gain if gain is None else gain.float() for gain in gains)]
        results = []
        for side, prefix, own in zip((attention, exact), prefixes, owns, strict=True):
            pieces = [Piece(slice(0, _PREFIX), None, prefix)]
            if is_shared:
                ends = [sum(_ROWS[: place + 1]) for place in range(len(_ROWS))]
                pieces = [
                    Piece(slice(end - n, end), prefix, span)
                    for end, n, span in zip(ends, _ROWS, own, strict=True)
                ]
            step = side.open(pieces)
            results.append(step.attend(0, *((qkv, *gains) if side is attention else given)))
            step.finish()
        error = float((results[0].float() - results[1]).abs().max())
        # A comparison with NaN is false: what is no number is not small enough.
        if not error <= bound(dtype):
            raise AttentionTrialError(
                f"the attention kernels on {device} differ by {error:.2g} from torch where "
                f"{dtype} explains {bound(dtype):.2g}; update Triton and the driver"
            )
        worst = max(worst, error)
    return worst


def bound(dtype: torch.dtype) -> float:
    """Return the largest difference that rounding explains, for values up to 4.

    In 16 bits queries, keys and weights are rounded on the way, and the result: two units in the
    last place of values from 2 to 4, which lie 2 eps apart. In float32 the order of sums shows.
    """
    eps: float = torch.finfo(dtype).eps
    return 64 * eps if dtype is torch.float32 else 4 * eps

"""The norm of all four families."""

from __future__ import annotations

import torch


def rms_norm(x: torch.Tensor, gain: torch.Tensor, eps: float) -> torch.Tensor:
    """Divide by the root mean square over the last axis, in float32 (Zhang & Sennrich 2019)."""
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return gain * (wide * scale).to(x.dtype)

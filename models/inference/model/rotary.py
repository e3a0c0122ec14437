"""Rotary position embedding in split halves (Su et al. 2021), with Llama 3's scaling."""

from __future__ import annotations

import math

import torch

from models.inference.model.architecture import DecoderConfig, RopeScaling


class Rotary:
    """Angles of all positions, computed once."""

    def __init__(self, config: DecoderConfig) -> None:
        """Prepare the angles of every position of the model's context."""
        half = torch.arange(0, config.head_dim, 2, dtype=torch.int64).float() / config.head_dim
        rates = 1.0 / (config.rope_theta**half)
        if config.rope_scaling is not None:
            rates = _stretched(rates, config.rope_scaling)
        angles = torch.outer(torch.arange(config.context).float(), rates)
        self.cos, self.sin = angles.cos().contiguous(), angles.sin().contiguous()
        """Each (positions, head_dim / 2), float32."""

    def at(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines of positions, each (rows, 1, head_dim)."""
        # Both halves turn by the same angles.
        cos, sin = self.cos[positions], self.sin[positions]
        return (
            torch.cat([cos, cos], -1).unsqueeze(1).to(dtype),
            torch.cat([sin, sin], -1).unsqueeze(1).to(dtype),
        )


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate heads (rows, heads, head_dim) by what `Rotary.at` gave."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def _stretched(rates: torch.Tensor, scaling: RopeScaling) -> torch.Tensor:
    """Slow rotations by the factor, keep fast ones, blend between."""
    wavelength = 2 * math.pi / rates
    low = scaling.original_context / scaling.low_freq_factor
    high = scaling.original_context / scaling.high_freq_factor
    spread = scaling.high_freq_factor - scaling.low_freq_factor
    blend = (scaling.original_context / wavelength - scaling.low_freq_factor) / spread
    between = (1 - blend) * rates / scaling.factor + blend * rates
    slowed = torch.where(wavelength > low, rates / scaling.factor, rates)
    is_between = (wavelength <= low) & (wavelength >= high)
    return torch.where(is_between, between, slowed)

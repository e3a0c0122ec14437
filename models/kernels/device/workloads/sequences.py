"""Sequences that can be learnt in a few steps: each counts on by a number of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def counting_batch(
    generator: torch.Generator, batch: int, context: int, vocabulary: int
) -> tuple[Tensor, Tensor]:
    """Return tokens and the tokens that follow them, both of shape (batch, context), int64."""
    first = torch.randint(vocabulary, (batch, 1), generator=generator)
    step = torch.randint(1, 4, (batch, 1), generator=generator)
    whole = (first + step * torch.arange(context + 1)) % vocabulary
    return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()

"""A Llama of two layers: RMSNorm, rotary positions, grouped keys and values, SwiGLU.

After Touvron et al. (2023), "Llama 2: Open Foundation and Fine-Tuned Chat Models".
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.kernels.device.workloads.base import Workload
from models.kernels.device.workloads.sequences import counting_batch

VOCABULARY, CONTEXT, WIDTH, HEADS, KV_HEADS, LAYERS, BATCH = 48, 16, 64, 4, 2, 2, 2
HEAD = WIDTH // HEADS
INNER = 160
ROTARY_BASE = 10_000.0


class RMSNorm(nn.Module):
    """Scales rows to a root mean square of one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Return x, of any shape (.., WIDTH), scaled."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotated(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn pairs (i, i + HEAD / 2) of x, shape (batch, heads, time, HEAD), by their angles."""
    low, high = x.chunk(2, dim=-1)
    return x * cosine + torch.cat((-high, low), dim=-1) * sine


class Block(nn.Module):
    """Attention with fewer heads of keys than of queries, and a gated feed-forward part."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = RMSNorm()
        self.q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.k = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.v = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.mixed = nn.Linear(WIDTH, WIDTH, bias=False)
        self.before_mlp = RMSNorm()
        self.gate = nn.Linear(WIDTH, INNER, bias=False)
        self.up = nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        """Return the hidden states after this layer; shape (batch, time, WIDTH) both."""
        batch, time, _ = x.shape
        normed = self.before_attention(x)
        q, k, v = (
            one(normed).view(batch, time, -1, HEAD).transpose(1, 2)
            for one in (self.q, self.k, self.v)
        )
        q, k = rotated(q, cosine, sine), rotated(k, cosine, sine)
        k, v = (one.repeat_interleave(HEADS // KV_HEADS, dim=1) for one in (k, v))
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + cast(Tensor, self.mixed(attended.transpose(1, 2).reshape(batch, time, WIDTH)))
        normed = self.before_mlp(x)
        return x + cast(Tensor, self.down(functional.silu(self.gate(normed)) * self.up(normed)))


class Llama(nn.Module):
    """Predicts the next token of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = RMSNorm()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        speeds = ROTARY_BASE ** (-torch.arange(0, HEAD, 2) / HEAD)
        angles = torch.outer(torch.arange(CONTEXT), speeds).repeat(1, 2)
        self.register_buffer("cosine", angles.cos())
        self.register_buffer("sine", angles.sin())

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy; tokens and targets have shape (batch, time)."""
        x = self.tokens(tokens)
        for block in self.blocks:
            x = block(x, self.cosine, self.sine)
        logits = self.head(self.norm(x))
        return functional.cross_entropy(logits.view(-1, VOCABULARY), targets.reshape(-1))


WORKLOAD = Workload(
    name="llama",
    make_model=Llama,
    make_batch=lambda generator: counting_batch(generator, BATCH, CONTEXT, VOCABULARY),
    make_optimizer=lambda parameters: torch.optim.AdamW(
        parameters, lr=3e-3, weight_decay=0.1, betas=(0.9, 0.95), foreach=False
    ),
)

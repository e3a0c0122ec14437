"""A GPT of two layers: learned positions, LayerNorm before each part, GELU, tied head.

After Radford et al. (2019), "Language Models are Unsupervised Multitask Learners".
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.kernels.device.workloads.base import Workload
from models.kernels.device.workloads.sequences import counting_batch

VOCABULARY, CONTEXT, WIDTH, HEADS, LAYERS, BATCH = 48, 16, 64, 4, 2, 2


class Block(nn.Module):
    """Causal self-attention and a feed-forward part, each added to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.mixed = nn.Linear(WIDTH, WIDTH)
        self.before_mlp = nn.LayerNorm(WIDTH)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Return the hidden states after this layer; shape (batch, time, WIDTH) both."""
        batch, time, _ = x.shape
        parts = self.qkv(self.before_attention(x)).split(WIDTH, dim=2)
        q, k, v = (one.view(batch, time, HEADS, -1).transpose(1, 2) for one in parts)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        joined = attended.transpose(1, 2).reshape(batch, time, WIDTH)
        x = x + cast(Tensor, self.mixed(joined))
        return x + cast(Tensor, self.narrow(functional.gelu(self.wide(self.before_mlp(x)))))


class GPT(nn.Module):
    """Predicts the next token of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy; tokens and targets have shape (batch, time)."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        # Used twice rather than shared by two modules: a move to another device splits those.
        logits = functional.linear(self.norm(x), self.tokens.weight)
        return functional.cross_entropy(logits.view(-1, VOCABULARY), targets.reshape(-1))


WORKLOAD = Workload(
    name="gpt",
    make_model=GPT,
    make_batch=lambda generator: counting_batch(generator, BATCH, CONTEXT, VOCABULARY),
    make_optimizer=lambda parameters: torch.optim.AdamW(
        parameters, lr=3e-3, weight_decay=0.1, foreach=False
    ),
)

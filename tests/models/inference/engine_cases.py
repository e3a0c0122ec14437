"""Small decoders with random weights, and a slow way to run one prompt alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from models.inference.attention.base import Attention, Piece
from models.inference.model.architecture import DecoderConfig
from models.inference.model.decoder import Decoder
from models.inference.model.weights import DecoderWeights, LayerWeights
from models.inference.token_table import TokenTable

NONE = torch.tensor([], dtype=torch.int64)
TINY = DecoderConfig(
    family="llama",
    n_layers=2,
    hidden=32,
    n_heads=4,
    n_kv_heads=2,
    head_dim=8,
    mlp=48,
    vocabulary=97,
    context=512,
    rope_theta=10_000.0,
    rope_scaling=None,
    norm_eps=1e-5,
    is_tied=True,
    has_qkv_bias=False,
    has_qk_norm=False,
    eos_ids=(2,),
    bos_id=1,
)


def random_weights(config: DecoderConfig, seed: int = 0) -> DecoderWeights:
    draws = torch.Generator().manual_seed(seed)

    def matrix(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws) * 0.3

    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    layers = tuple(
        LayerWeights(
            input_norm=torch.ones(config.hidden),
            qkv=matrix(q + 2 * kv, config.hidden),
            qkv_bias=None,
            q_norm=None,
            k_norm=None,
            out=matrix(config.hidden, q),
            mlp_norm=torch.ones(config.hidden),
            gate_up=matrix(2 * config.mlp, config.hidden),
            down=matrix(config.hidden, config.mlp),
        )
        for _ in range(config.n_layers)
    )
    embedding = 3 * matrix(config.vocabulary, config.hidden)
    return DecoderWeights(embedding, layers, torch.ones(config.hidden), embedding)


def narrowed(weights: DecoderWeights) -> DecoderWeights:
    """The same weights in bfloat16; the head stays tied."""
    layers = []
    for layer in weights.layers:
        values: dict[str, Any] = {
            name: None if value is None else value.bfloat16() for name, value in vars(layer).items()
        }
        layers.append(replace(layer, **values))
    embedding = weights.embedding.bfloat16()
    return DecoderWeights(embedding, tuple(layers), weights.norm.bfloat16(), embedding)


def run_alone(decoder: Decoder, prompt: list[int], n_tokens: int) -> list[int]:
    """Greedy tokens of one prompt, one sequence, no prefix."""
    attention: Attention = decoder.attention
    span = attention.new_span(len(prompt) + n_tokens)
    piece = Piece(slice(0, len(prompt)), None, span)
    logits = decoder.step(torch.tensor(prompt), [piece], torch.tensor([len(prompt) - 1]))
    emitted: list[int] = []
    while len(emitted) < n_tokens:
        emitted.append(int(logits.argmax()))
        if emitted[-1] in decoder.config.eos_ids:
            break
        piece = Piece(slice(0, 1), None, span)
        logits = decoder.step(torch.tensor(emitted[-1:]), [piece], torch.tensor([0]))
    return emitted


def random_tree(seed: int) -> tuple[list[list[int]], list[int]]:
    """Prompts that share prefixes of up to two levels, and output lengths."""
    draws = np.random.default_rng(seed)

    def ids(low: int, high: int) -> list[int]:
        return [int(i) for i in draws.integers(3, 97, draws.integers(low, high))]

    prompts = []
    for _ in range(draws.integers(1, 4)):
        first = ids(0, 60)
        for _ in range(draws.integers(1, 4)):
            second = first + ids(0, 30)
            prompts += [second + ids(1, 12) for _ in range(draws.integers(1, 6))]
    return prompts, [int(n) for n in draws.integers(1, 20, len(prompts))]


def table(prompts: list[list[int]]) -> TokenTable:
    return TokenTable.from_lists(prompts)


def tiny(**changes: Any) -> DecoderConfig:
    return replace(TINY, **changes)

"""What a decoder does between attentions: products, norms, gates; plain torch or C++."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch.nn.functional import embedding, silu

from models.inference.model.architecture import DecoderConfig
from models.inference.model.linear import Linear
from models.inference.model.norm import rms_norm
from models.inference.model.weights import DecoderWeights


class Best(NamedTuple):
    """The likeliest token of rows.

    Attributes:
        values: Its logit, shape (n,), float32; NaN where a row holds one.
        tokens: Shape (n,), int64.
    """

    values: torch.Tensor
    tokens: torch.Tensor


class Steps(Protocol):
    """A model's weights and everything but its attention.

    `x` is the residual stream, of a type that the implementation chooses; `normed` is what
    products take in, of the type of the weights. Both are (rows, hidden).
    """

    name: str

    def open(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the residual stream of tokens, and it normalised for layer 0."""
        ...

    def qkv(self, layer: int, normed: torch.Tensor) -> torch.Tensor:
        """Project to queries, keys and values, shape (rows, (n_heads + 2 n_kv_heads) head_dim)."""
        ...

    def close(
        self, layer: int, x: torch.Tensor, heads: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add what attention gave and the MLP.

        Args:
            layer: Which layer.
            x: Residual stream; may be written to.
            heads: What attention gave, shape (rows, n_heads head_dim).

        Returns:
            The residual stream, and it normalised for the next layer or, after the last, the head.
        """
        ...

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        """Return float32 logits, shape (rows, vocabulary)."""
        ...

    def best(self, normed: torch.Tensor) -> Best:
        """Return the likeliest token of each row; logits of all rows are never alive at once."""
        ...


class Layer(NamedTuple):
    """The products of one layer."""

    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear


def pack_layers(weights: DecoderWeights, pack: Callable[..., Linear]) -> list[Layer]:
    """Make the products of all layers; `pack` takes a weight and its bias."""
    return [
        Layer(
            pack(layer.qkv, layer.qkv_bias),
            pack(layer.out, None),
            pack(layer.gate_up, None),
            pack(layer.down, None),
        )
        for layer in weights.layers
    ]


def norm_gains(weights: DecoderWeights) -> list[torch.Tensor]:
    """Gain before each layer, and last the one before the head."""
    return [*(layer.input_norm for layer in weights.layers), weights.norm]


class TorchSteps:
    """Plain torch: any type, as Hugging Face rounds it."""

    name = "torch"

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, tile: int | None = None
    ) -> None:
        self._eps, self._weights = config.norm_eps, weights
        # In float32 tokens are to be those of Hugging Face, which adds in the order of the layout.
        is_packed = weights.embedding.dtype is torch.bfloat16

        def pack(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
            return Linear(weight, bias, tile, is_packed)

        self._layers = pack_layers(weights, pack)
        self._gains = norm_gains(weights)
        self._head = pack(weights.head, None)

    def open(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Steps.open`."""
        x = embedding(token_ids, self._weights.embedding)
        return x, rms_norm(x, self._gains[0], self._eps)

    def qkv(self, layer: int, normed: torch.Tensor) -> torch.Tensor:
        """See `Steps.qkv`."""
        return self._layers[layer].qkv(normed)

    def close(
        self, layer: int, x: torch.Tensor, heads: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Steps.close`."""
        own = self._layers[layer]
        x = x + own.out(heads)
        normed = rms_norm(x, self._weights.layers[layer].mlp_norm, self._eps)
        gate, up = own.gate_up(normed).chunk(2, dim=-1)
        x = x + own.down(silu(gate) * up)
        return x, rms_norm(x, self._gains[layer + 1], self._eps)

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        """See `Steps.logits`."""
        return self._head(normed).float()

    def best(self, normed: torch.Tensor) -> Best:
        """See `Steps.best`."""
        return Best(*self.logits(normed).max(dim=-1))

"""The forward pass of a dense decoder over rows of many sequences at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import embedding, linear, silu

from models.inference.attention.base import Attention, Piece
from models.inference.model.architecture import DecoderConfig
from models.inference.model.norm import rms_norm
from models.inference.model.weights import DecoderWeights


class Decoder:
    """One model, ready to run steps.

    A step is a flat list of tokens: chunks of prefixes and prompts and the last tokens of
    decoding sequences, in any mix. Nothing is padded.
    """

    def __init__(
        self, config: DecoderConfig, weights: DecoderWeights, attention: Attention
    ) -> None:
        self.config, self._weights, self.attention = config, weights, attention

    @torch.inference_mode()
    def step(
        self, token_ids: torch.Tensor, pieces: Sequence[Piece], wanted: torch.Tensor
    ) -> torch.Tensor:
        """Run one step: keys and values go into the spans, logits come out.

        Args:
            token_ids: Shape (rows,), int64.
            pieces: Which sequence each row belongs to; they cover the rows in order.
            wanted: Rows whose next token is asked for, shape (n,), int64; may be empty.

        Returns:
            Logits in float32, shape (n, vocabulary).
        """
        eps, attention = self.config.norm_eps, self.attention.open(pieces)
        x = embedding(token_ids, self._weights.embedding)
        for index, layer in enumerate(self._weights.layers):
            qkv = linear(rms_norm(x, layer.input_norm, eps), layer.qkv, layer.qkv_bias)
            x = x + linear(attention.attend(index, qkv, layer.q_norm, layer.k_norm), layer.out)
            gate, up = linear(rms_norm(x, layer.mlp_norm, eps), layer.gate_up).chunk(2, dim=-1)
            x = x + linear(silu(gate) * up, layer.down)
        attention.finish()
        last = rms_norm(x[wanted], self._weights.norm, eps)
        return linear(last, self._weights.head).float()

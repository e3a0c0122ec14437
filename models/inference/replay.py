"""A sequence computed again in float32, where the fast way gave no numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch

from models.inference.attention.base import Piece
from models.inference.attention.reference import ReferenceAttention
from models.inference.model.architecture import DecoderConfig
from models.inference.model.decoder import Decoder
from models.inference.model.weights import DecoderWeights


class ExactDecoder:
    """The same model in float32 and plain torch; its weights are made when first needed."""

    def __init__(self, config: DecoderConfig, weights: DecoderWeights) -> None:
        self._config, self._weights = config, weights
        self._decoder: Decoder | None = None

    @property
    def decoder(self) -> Decoder:
        """The model; twice the memory of the bfloat16 weights from then on."""
        if self._decoder is None:
            attention = ReferenceAttention(self._config, torch.float32, self._weights.device)
            self._decoder = Decoder(self._config, widened(self._weights), attention)
        return self._decoder

    def logits(self, token_ids: Sequence[int], first: int) -> torch.Tensor:
        """Run one sequence alone.

        Args:
            token_ids: The whole sequence, at least one token.
            first: First place whose logits are asked for.

        Returns:
            Shape (len(token_ids) - first, vocabulary): what follows each of the last tokens;
            on the host.
        """
        n, decoder = len(token_ids), self.decoder
        piece = Piece(slice(0, n), None, decoder.attention.new_span(n))
        return decoder.step(torch.tensor(token_ids), [piece], torch.arange(first, n)).cpu()


def widened(weights: DecoderWeights) -> DecoderWeights:
    """Return the weights in float32; a tied head stays tied."""
    layers = []
    for layer in weights.layers:
        values = {item.name: getattr(layer, item.name) for item in fields(layer)}
        wide: dict[str, Any] = {
            name: None if value is None else value.float() for name, value in values.items()
        }
        layers.append(replace(layer, **wide))
    embedding = weights.embedding.float()
    head = embedding if weights.head is weights.embedding else weights.head.float()
    return DecoderWeights(embedding, tuple(layers), weights.norm.float(), head)

"""The forward pass of a dense decoder over rows of many sequences at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.inference.attention.base import Attention, Piece
from models.inference.model.architecture import DecoderConfig
from models.inference.model.steps import Best, Steps, TorchSteps
from models.inference.model.weights import DecoderWeights


class Decoder:
    """One model, ready to run steps.

    A step is a flat list of tokens: chunks of prefixes and prompts and the last tokens of
    decoding sequences, in any mix. Nothing is padded.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        attention: Attention,
        steps: Steps | None = None,
    ) -> None:
        """Put a model together.

        Args:
            config: Shapes.
            weights: As loaded.
            attention: Keeps keys and values.
            steps: Everything else; None: plain torch.
        """
        self.config, self.weights, self.attention = config, weights, attention
        self.steps = steps or TorchSteps(config, weights)
        self._device = weights.device

    @torch.inference_mode()
    def hidden(
        self, token_ids: torch.Tensor, pieces: Sequence[Piece], wanted: torch.Tensor
    ) -> torch.Tensor:
        """Run one step: keys and values go into the spans, what the head takes comes out.

        Args:
            token_ids: Shape (rows,), int64; like `wanted`, on the host or with the weights.
            pieces: Which sequence each row belongs to; they cover the rows in order.
            wanted: Rows whose next token is asked for, shape (n,), int64; may be empty.

        Returns:
            Shape (n, hidden), normalised, type and device of the weights.
        """
        attention, last = self.attention.open(pieces), self.config.n_layers - 1
        x, normed = self.steps.open(token_ids.to(self._device))
        for index, layer in enumerate(self.weights.layers):
            qkv = self.steps.qkv(index, normed)
            heads = attention.attend(index, qkv, layer.q_norm, layer.k_norm)
            if index == last:  # what nobody asks for need not pass the last MLP
                asked = wanted.to(self._device)
                x, heads = x[asked], heads[asked]
            x, normed = self.steps.close(index, x, heads)
        attention.finish()
        return normed

    @torch.inference_mode()
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return float32 logits of what `hidden` gave, shape (n, vocabulary)."""
        return self.steps.logits(hidden)

    @torch.inference_mode()
    def best(self, hidden: torch.Tensor) -> Best:
        """Return the likeliest token of each row of what `hidden` gave."""
        return self.steps.best(hidden)

    def step(
        self, token_ids: torch.Tensor, pieces: Sequence[Piece], wanted: torch.Tensor
    ) -> torch.Tensor:
        """Run one step and return the logits of the wanted rows; see `hidden`."""
        return self.logits(self.hidden(token_ids, pieces, wanted))

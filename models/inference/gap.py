"""How far fast arithmetic is from float32: the teacher-forced gap of emitted tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.inference.attention.base import Piece
from models.inference.model.decoder import Decoder
from models.inference.replay import ExactDecoder

GATE = 0.25
"""No token may lie further below the likeliest one: near ties may flip, clear cases may not."""


@dataclass(frozen=True)
class TokenGaps:
    """Float32's largest logit less its logit of the emitted token, in logits.

    Attributes:
        values: One per token, shape (n,); 0 where float32 would have emitted the same.
    """

    values: NDArray[np.float64]

    @property
    def largest(self) -> float:
        """Of all tokens; the gate is on it."""
        return float(self.values.max())

    @property
    def mean(self) -> float:
        """Over all tokens."""
        return float(self.values.mean())

    @property
    def same(self) -> int:
        """Tokens that float32 would have emitted too."""
        return int((self.values == 0).sum())


def measure_gaps(decoder: Decoder, prompts: Sequence[Sequence[int]], n_tokens: int) -> TokenGaps:
    """Let a decoder continue prompts greedily, and ask float32 about every token.

    Args:
        decoder: What is measured; its weights serve float32 as well.
        prompts: Token ids of natural text; they share steps.
        n_tokens: Tokens to emit per prompt, end tokens included.
    """
    exact = ExactDecoder(decoder.config, decoder.weights)
    return gaps_of(exact, prompts, continued(decoder, prompts, n_tokens))


def gaps_of(
    exact: ExactDecoder, prompts: Sequence[Sequence[int]], outputs: Sequence[Sequence[int]]
) -> TokenGaps:
    """Ask float32 about tokens that some engine emitted greedily.

    Args:
        exact: The model in float32.
        prompts: Token ids.
        outputs: What the engine emitted after each, at least one token.
    """
    gaps = []
    for prompt, emitted in zip(prompts, outputs, strict=True):
        logits = exact.logits([*prompt, *emitted[:-1]], len(prompt) - 1)
        chosen = logits.gather(1, torch.tensor(emitted)[:, None])[:, 0]
        gaps.append((logits.max(dim=-1).values - chosen).double().numpy())
    return TokenGaps(np.concatenate(gaps))


def continued(decoder: Decoder, prompts: Sequence[Sequence[int]], n_tokens: int) -> list[list[int]]:
    """Return `n_tokens` greedy tokens of each prompt; all sequences share every step."""
    spans = [decoder.attention.new_span(len(prompt) + n_tokens) for prompt in prompts]
    fed: list[list[int]] = [list(prompt) for prompt in prompts]
    emitted: list[list[int]] = [[] for _ in prompts]
    for _ in range(n_tokens):
        ends = np.cumsum([len(tokens) for tokens in fed])
        pieces = [
            Piece(slice(int(end) - len(tokens), int(end)), None, span)
            for end, tokens, span in zip(ends, fed, spans, strict=True)
        ]
        flat = torch.tensor([token for tokens in fed for token in tokens])
        hidden = decoder.hidden(flat, pieces, torch.from_numpy(ends - 1))
        fed = [[token] for token in decoder.best(hidden).tokens.tolist()]
        for tokens, new in zip(emitted, fed, strict=True):
            tokens.extend(new)
    return emitted

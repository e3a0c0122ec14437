"""What work costs: a step-time model, and output lengths learned from finished rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.errors import NotEnoughDataError


@dataclass(frozen=True)
class CostModel:
    """Seconds of one compute thread; the defaults are SmolLM2-135M in bf16 on AVX512.

    Attributes:
        prefill_s: Per prompt token computed.
        decode_s: Per token decoded.
        sample_s: Per row sampled (final norm, vocabulary projection, choice).
        copy_s: Per KV token copied from a prefix into another.
        step_s: Per engine step: what a step costs before its first token (weights read once).
        group_s: Per prefix: attention calls and bookkeeping of its own; groups that save less
            than this dissolve.
        hold_s: Per token of a prefix: the price of keeping it, raise it if KV is scarce.
    """

    prefill_s: float = 0.5e-3
    decode_s: float = 0.5e-3
    sample_s: float = 0.14e-3
    copy_s: float = 5e-6
    step_s: float = 16e-3
    group_s: float = 1e-3
    hold_s: float = 0.0

    def fitted(self, tokens: Sequence[int], seconds: Sequence[float]) -> CostModel:
        """Return a model whose step and token prices follow measured steps.

        Args:
            tokens: Tokens of each measured step, at least two sizes.
            seconds: CPU seconds of each.

        Raises:
            NotEnoughDataError: Fewer than two different sizes.
        """
        if len(set(tokens)) < 2:
            raise NotEnoughDataError(
                f"a step-time line needs steps of at least two sizes, got {sorted(set(tokens))}; "
                "measure a step of 1 token and one of 256"
            )
        size, time_s = np.asarray(tokens, float), np.asarray(seconds, float)
        # Relative errors count: the smallest steps are a hundredth of the largest.
        weight = 1 / np.maximum(time_s, 1e-9)
        matrix = np.stack([np.ones_like(size), size], axis=1) * weight[:, None]
        step_s, token_s = np.linalg.lstsq(matrix, time_s * weight, rcond=None)[0]
        token_s = max(float(token_s), 1e-9)
        return replace(self, step_s=max(float(step_s), 0.0), prefill_s=token_s, decode_s=token_s)


class OutputLengths:
    """Predicts how many tokens a row emits: a quantile of the rows that finished."""

    def __init__(self, quantile: float = 0.9, at_least: int = 32) -> None:
        """Predict `max_tokens` until `at_least` rows have finished."""
        self.quantile = quantile
        self.at_least = at_least
        self._counts = np.zeros(1, np.int64)

    def observe(self, tokens: NDArray[np.int64] | int) -> None:
        """Take in the output tokens of finished rows."""
        counts = np.bincount(np.atleast_1d(np.asarray(tokens, np.int64)))
        if len(counts) > len(self._counts):
            counts[: len(self._counts)] += self._counts
            self._counts = counts
        else:
            self._counts[: len(counts)] += counts

    def predict(self, max_tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return predicted tokens per row, in [1, max_tokens], shape (n_rows,)."""
        total = int(self._counts.sum())
        if total < self.at_least:
            return np.maximum(max_tokens, 1)
        typical = int(np.searchsorted(self._counts.cumsum(), self.quantile * total))
        predicted = np.minimum(max(typical, 1), np.maximum(max_tokens, 1))
        return np.asarray(predicted, np.int64)

"""The steps between attentions in C++, bfloat16 weights; see `models/inference/native`."""

from __future__ import annotations

from pathlib import Path

import torch

from models.errors import ConfigError
from models.inference.model.architecture import DecoderConfig
from models.inference.model.linear import Linear
from models.inference.model.steps import Best, norm_gains, pack_layers
from models.inference.model.weights import DecoderWeights
from models.inference.native.build import load_library, usable_level
from models.inference.native.symbols import Level, address

# Rows whose logits are alive at a time: 256 x 49,152 bfloat16 are 25 MB.
HEAD_ROWS = 256


class NativeSteps:
    """The residual stream stays float32; what products read and write is bfloat16.

    Where the processor has no products of bfloat16, torch's take eight times as long as in
    float32: there the weights are widened once, which changes no value, and products are in
    float32.
    """

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        cache: Path,
        n_threads: int = 1,
        level: Level | None = None,
        tile: int | None = None,
        is_packed: bool = True,
    ) -> None:
        """Build or load the library and pack the weights.

        Args:
            config: Shapes.
            weights: In bfloat16.
            cache: Folder of built libraries.
            n_threads: OpenMP threads.
            level: Instructions to use; None: the best that the processor has.
            tile: See `Linear`.
            is_packed: See `Linear`.

        Raises:
            BuildError: No compiler, or it failed.
            ConfigError: The weights are of another type, or the processor lacks the level.
        """
        if weights.embedding.dtype is not torch.bfloat16:
            raise ConfigError(
                f"the native steps take bfloat16 weights, got {weights.embedding.dtype}; use the "
                "torch steps"
            )
        self._library = load_library(cache)
        self._level = usable_level(self._library, level)
        self.name = f"native {self._level.name.lower().replace('_', '-')}"
        self._config, self._weights, self._n_threads = config, weights, n_threads
        self._type = self._level.activations

        def pack(weight: torch.Tensor, bias: torch.Tensor | None) -> Linear:
            wide_bias = None if bias is None else bias.to(self._type)
            return Linear(weight.to(self._type), wide_bias, tile, is_packed)

        self._layers = pack_layers(weights, pack)
        self._gains = norm_gains(weights)
        self._head = pack(weights.head, None)

    def open(self, token_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Steps.open`.

        Raises:
            IndexError: An id is not in the vocabulary.
        """
        c, ids = self._config, token_ids.contiguous()
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < c.vocabulary:
            raise IndexError(f"token ids must be in [0, {c.vocabulary})")
        x = torch.empty(len(ids), c.hidden)
        self._check(
            self._library.loom_embed(
                *(self._level, address(ids), address(self._weights.embedding), address(x)),
                *(len(ids), c.hidden, self._n_threads),
            )
        )
        return x, self._norm(x, None, self._gains[0])

    def qkv(self, layer: int, normed: torch.Tensor) -> torch.Tensor:
        """See `Steps.qkv`."""
        return self._layers[layer].qkv(normed)

    def close(
        self, layer: int, x: torch.Tensor, heads: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Steps.close`."""
        own, mlp = self._layers[layer], self._config.mlp
        normed = self._norm(x, own.out(heads), self._weights.layers[layer].mlp_norm)
        both = own.gate_up(normed)
        gated = torch.empty(len(x), mlp, dtype=self._type)
        self._check(
            self._library.loom_gate(
                self._level, address(both), address(gated), len(x), mlp, self._n_threads
            )
        )
        return x, self._norm(x, own.down(gated), self._gains[layer + 1])

    def logits(self, normed: torch.Tensor) -> torch.Tensor:
        """See `Steps.logits`."""
        return self._head(normed).float()

    def best(self, normed: torch.Tensor) -> Best:
        """See `Steps.best`."""
        values = torch.empty(len(normed))
        tokens = torch.empty(len(normed), dtype=torch.int64)
        for begin in range(0, len(normed), HEAD_ROWS):
            end = min(begin + HEAD_ROWS, len(normed))
            logits = self._head(normed[begin:end])
            self._check(
                self._library.loom_largest(
                    *(self._level, address(logits), end - begin, self._config.vocabulary),
                    *(address(values[begin:]), address(tokens[begin:]), self._n_threads),
                )
            )
        return Best(values, tokens)

    def _norm(
        self, x: torch.Tensor, delta: torch.Tensor | None, gain: torch.Tensor
    ) -> torch.Tensor:
        """Add `delta` to the residual stream in place, and return it normalised."""
        rows, width = x.shape
        out = torch.empty(rows, width, dtype=self._type)
        self._check(
            self._library.loom_norm(
                *(self._level, address(x), address(delta), address(gain), address(out)),
                *(rows, width, self._config.norm_eps, self._n_threads),
            )
        )
        return out

    @staticmethod
    def _check(code: int) -> None:
        if code:
            raise RuntimeError(f"the native steps refused with code {code}")

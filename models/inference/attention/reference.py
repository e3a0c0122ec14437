"""Attention in plain torch, one sequence at a time: slow, any type, obviously right."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from models.inference.attention.base import Piece, Span, check_room, positions_of
from models.inference.device import CPU
from models.inference.model.architecture import DecoderConfig
from models.inference.model.norm import rms_norm
from models.inference.model.rotary import Rotary, rotate


class TensorSpan:
    """Keys and values as one tensor, shape (layers, 2, kv_heads, capacity, head_dim)."""

    def __init__(self, store: torch.Tensor) -> None:
        self.store = store
        self.length = 0

    @property
    def capacity(self) -> int:
        """Tokens that fit."""
        return int(self.store.shape[3])

    @property
    def bytes(self) -> int:
        """Memory of the tensor."""
        return self.store.numel() * self.store.element_size()


class TensorSpans:
    """Spans as tensors of one type on one device."""

    def __init__(self, config: DecoderConfig, dtype: torch.dtype, device: torch.device) -> None:
        self._config, self._dtype, self._device = config, dtype, device

    def new_span(self, capacity: int) -> TensorSpan:
        """Return an empty span for `capacity` tokens."""
        c = self._config
        shape = (c.n_layers, 2, c.n_kv_heads, capacity, c.head_dim)
        return TensorSpan(torch.empty(shape, dtype=self._dtype, device=self._device))

    def bytes_for(self, capacity: int) -> int:
        """Memory of a span of `capacity` tokens."""
        return self._config.kv_values_per_token * capacity * self._dtype.itemsize

    def grow(self, span: Span, capacity: int) -> None:
        """Move a span to a larger tensor."""
        assert isinstance(span, TensorSpan)
        if capacity > span.capacity:
            larger = self.new_span(capacity).store
            larger[:, :, :, : span.length] = span.store[:, :, :, : span.length]
            span.store = larger

    def copy(self, source: Span, n_tokens: int, target: Span) -> None:
        """Put the first tokens of one span into another."""
        assert isinstance(source, TensorSpan)
        assert isinstance(target, TensorSpan)
        target.store[:, :, :, :n_tokens] = source.store[:, :, :, :n_tokens]
        target.length = n_tokens


class ReferenceAttention(TensorSpans):
    """Softmax over prefix and own keys together, in float32."""

    name = "reference"

    def __init__(
        self,
        config: DecoderConfig,
        dtype: torch.dtype,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(config, dtype, device)
        self._rotary = Rotary(config)

    def open(self, pieces: Sequence[Piece]) -> ReferenceStep:
        """Look the step's angles up; see `Attention.open`."""
        check_room(pieces)
        cos, sin = self._rotary.at(positions_of(pieces), self._dtype)
        return ReferenceStep(self._config, pieces, cos.to(self._device), sin.to(self._device))


class ReferenceStep:
    """One step of `ReferenceAttention`."""

    def __init__(
        self,
        config: DecoderConfig,
        pieces: Sequence[Piece],
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> None:
        self._config, self._pieces = config, pieces
        self._cos, self._sin = cos, sin

    def attend(
        self,
        layer: int,
        qkv: torch.Tensor,
        q_gain: torch.Tensor | None,
        k_gain: torch.Tensor | None,
    ) -> torch.Tensor:
        """Attend piece by piece; see `AttentionStep.attend`."""
        c = self._config
        heads = qkv.view(len(qkv), c.n_heads + 2 * c.n_kv_heads, c.head_dim)
        q, k, v = torch.split(heads, [c.n_heads, c.n_kv_heads, c.n_kv_heads], dim=1)
        if q_gain is not None and k_gain is not None:
            q, k = rms_norm(q, q_gain, c.norm_eps), rms_norm(k, k_gain, c.norm_eps)
        q, k = rotate(q, self._cos, self._sin), rotate(k, self._cos, self._sin)
        out = torch.empty_like(q)
        for piece in self._pieces:
            own, rows = piece.own, piece.rows
            assert isinstance(own, TensorSpan)
            end = own.length + len(piece)
            own.store[layer, 0, :, own.length : end] = k[rows].transpose(0, 1)
            own.store[layer, 1, :, own.length : end] = v[rows].transpose(0, 1)
            seen_k, seen_v = own.store[layer, :, :, :end]
            if piece.prefix is not None:
                assert isinstance(piece.prefix, TensorSpan)
                first_k, first_v = piece.prefix.store[layer, :, :, : piece.prefix.length]
                seen_k, seen_v = torch.cat([first_k, seen_k], 1), torch.cat([first_v, seen_v], 1)
            out[rows] = self._softmax(q[rows], seen_k, seen_v)
        return out.reshape(len(qkv), c.n_heads * c.head_dim)

    def finish(self) -> None:
        """Count the rows as held."""
        for piece in self._pieces:
            piece.own.length += len(piece)

    def _softmax(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attend the last rows to all keys before them; (rows, heads, dim) in and out."""
        rows, total, c = len(q), k.shape[1], self._config
        per_kv = c.n_heads // c.n_kv_heads
        grouped = q.transpose(0, 1).reshape(c.n_kv_heads, per_kv, rows, c.head_dim).float()
        scores = grouped @ k.float().unsqueeze(1).transpose(2, 3) * c.head_dim**-0.5
        is_later = torch.ones(rows, total, dtype=torch.bool, device=q.device)
        is_later = is_later.triu(total - rows + 1)
        weights = scores.masked_fill(is_later, -torch.inf).softmax(-1)
        mixed: torch.Tensor = weights @ v.float().unsqueeze(1)
        return mixed.reshape(c.n_heads, rows, c.head_dim).transpose(0, 1).to(q.dtype)

"""What an attention implementation must do: keep keys and values, and attend to them.

A sequence attends to at most two spans: the prefix that its group shares, whole, and its own
tokens, causally. A prefix while it is being computed is a sequence without a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


class Span(Protocol):
    """Keys and values of consecutive tokens in all layers.

    Attributes:
        length: Tokens that every layer holds.
        capacity: Tokens that fit without `Attention.grow`.
        bytes: Memory that the span holds, as allocated.
    """

    length: int

    @property
    def capacity(self) -> int:
        """Tokens that fit without `Attention.grow`."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that the span holds, as allocated."""
        ...


@dataclass(frozen=True)
class Piece:
    """Consecutive rows of a step that belong to one sequence.

    Attributes:
        rows: Where they lie among the rows of the step.
        prefix: Shared span before the sequence's own tokens; complete, read only; or None.
        own: The sequence's own span. The rows are appended to it in order; row i attends to
            the prefix, to what `own` held before the step, and to rows 0 to i.
    """

    rows: slice
    prefix: Span | None
    own: Span

    @property
    def first_position(self) -> int:
        """Position of the first row in the sequence, tokens from its beginning."""
        return (self.prefix.length if self.prefix else 0) + self.own.length

    def __len__(self) -> int:
        first, end = int(self.rows.start), int(self.rows.stop)
        return end - first


class AttentionStep(Protocol):
    """One step through all layers."""

    def attend(
        self,
        layer: int,
        qkv: torch.Tensor,
        q_gain: torch.Tensor | None,
        k_gain: torch.Tensor | None,
    ) -> torch.Tensor:
        """Rotate, file the step's keys and values in their spans, and attend.

        Args:
            layer: Which layer; each once, in order.
            qkv: Projections, shape (rows, (n_heads + 2 n_kv_heads) head_dim).
            q_gain: Gain of queries normalised per head, shape (head_dim,), or None.
            k_gain: The same for keys.

        Returns:
            Shape (rows, n_heads head_dim), type of `qkv`.
        """
        ...

    def finish(self) -> None:
        """Count the step's rows as held by their spans, after the last layer."""
        ...


class Attention(Protocol):
    """Keeps keys and values in a layout of its own and attends to them."""

    name: str

    def new_span(self, capacity: int) -> Span:
        """Return an empty span for `capacity` tokens of all layers."""
        ...

    def bytes_for(self, capacity: int) -> int:
        """Return what `new_span(capacity).bytes` would be."""
        ...

    def grow(self, span: Span, capacity: int) -> None:
        """Give a span room for at least `capacity` tokens; what it holds stays."""
        ...

    def copy(self, source: Span, n_tokens: int, target: Span) -> None:
        """Put the first `n_tokens` of a span into an empty one, all layers, uncomputed."""
        ...

    def open(self, pieces: Sequence[Piece]) -> AttentionStep:
        """Prepare a step.

        Args:
            pieces: Cover all rows of the step, in order, without overlap. `Span.length` says
                what each span held before the step until `AttentionStep.finish`.
        """
        ...


def positions_of(pieces: Sequence[Piece]) -> torch.Tensor:
    """Position of each row in its sequence, shape (rows,), int64."""
    return torch.cat([torch.arange(p.first_position, p.first_position + len(p)) for p in pieces])


def check_room(pieces: Sequence[Piece]) -> None:
    """Refuse a step that a span has no room for; a caller forgot `Attention.grow`.

    Raises:
        ValueError: A span is too short.
    """
    for piece in pieces:
        if piece.own.length + len(piece) > piece.own.capacity:
            raise ValueError(
                f"a span of {piece.own.capacity} tokens holds {piece.own.length} and was asked to "
                f"take {len(piece)} more; grow it first"
            )

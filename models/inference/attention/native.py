"""Attention in C++ over packed bfloat16 keys and values; see `models/inference/native`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.errors import ConfigError
from models.inference.attention.base import Piece, Span, check_room, positions_of
from models.inference.model.architecture import DecoderConfig
from models.inference.model.rotary import Rotary
from models.inference.native.build import load_library, usable_level
from models.inference.native.symbols import Level, Shape, address

BLOCK = 16  # tokens that are packed together, as in the C++ source

_PIECE = np.dtype(
    [
        *((name, np.int64) for name in ("first_row", "n_rows", "prefix", "own_length")),
        *((name, np.int64) for name in ("head_stride", "layer_stride", "own")),
    ]
)
_PREFIX = np.dtype(
    [
        *((name, np.int64) for name in ("length", "head_stride", "layer_stride")),
        *((name, np.int64) for name in ("first_item", "n_items", "kv")),
    ]
)


class PackedSpan:
    """Keys and values, shape (layers, kv_heads, blocks, 2, 16 head_dim), bfloat16."""

    def __init__(self, store: torch.Tensor) -> None:
        self.store = store
        self.length = 0

    @property
    def capacity(self) -> int:
        """Tokens that fit; whole blocks."""
        return int(self.store.shape[2]) * BLOCK

    @property
    def bytes(self) -> int:
        """Memory of the tensor."""
        return self.store.numel() * self.store.element_size()


class NativeAttention:
    """Attention by the compiled kernel."""

    def __init__(
        self,
        config: DecoderConfig,
        cache: Path,
        n_threads: int = 1,
        level: Level | None = None,
        most: Level | None = None,
        shares_tiles: bool = True,
    ) -> None:
        """Build or load the kernel.

        Args:
            config: Heads and angles.
            cache: Folder of built libraries.
            n_threads: OpenMP threads of a step.
            level: Instructions to use; None: the best that the processor has.
            most: Use no level beyond this one.
            shares_tiles: Attend to a prefix for rows of all its sequences together; False, to
                measure what that gives: for each sequence alone.

        Raises:
            BuildError: No compiler, or it failed.
            ConfigError: The head size or the level cannot be used here.
        """
        self._library = load_library(cache)
        self.level = min(usable_level(self._library, level), max(Level) if most is None else most)
        step = 64 if self.level >= Level.AVX512_BF16 else 2
        if config.head_dim % step or config.head_dim > 512:
            raise ConfigError(
                f"heads of {config.head_dim} values do not fit the {self.level.name} kernel, which "
                f"takes multiples of {step} up to 512; use the reference attention"
            )
        self.name = f"native {self.level.name.lower().replace('_', '-')}"
        self._config, self._n_threads, self._shares = config, n_threads, shares_tiles
        self._rotary = Rotary(config)
        self._shape = Shape(config.n_heads, config.n_kv_heads, config.head_dim)

    def new_span(self, capacity: int) -> PackedSpan:
        """Return an empty span for at least `capacity` tokens."""
        c = self._config
        blocks = -(-capacity // BLOCK)
        shape = (c.n_layers, c.n_kv_heads, blocks, 2, BLOCK * c.head_dim)
        return PackedSpan(torch.empty(shape, dtype=torch.bfloat16))

    def bytes_for(self, capacity: int) -> int:
        """Memory of a span of `capacity` tokens."""
        return self._config.kv_values_per_token * -(-capacity // BLOCK) * BLOCK * 2

    def grow(self, span: Span, capacity: int) -> None:
        """Move a span to a larger tensor."""
        assert isinstance(span, PackedSpan)
        if capacity > span.capacity:
            held = -(-span.length // BLOCK)
            larger = self.new_span(capacity).store
            larger[:, :, :held] = span.store[:, :, :held]
            span.store = larger

    def copy(self, source: Span, n_tokens: int, target: Span) -> None:
        """Put the first tokens of one span into another, whole blocks at once."""
        assert isinstance(source, PackedSpan)
        assert isinstance(target, PackedSpan)
        held = -(-n_tokens // BLOCK)
        target.store[:, :, :held] = source.store[:, :, :held]
        target.length = n_tokens

    def open(self, pieces: Sequence[Piece]) -> NativeStep:
        """Describe the step to the kernel; see `Attention.open`."""
        check_room(pieces)
        return NativeStep(
            self._library, self.level, self._config, self._shape, self._rotary, pieces,
            self._n_threads, self._shares,
        )  # fmt: skip


class NativeStep:
    """One step of `NativeAttention`: the same description serves all layers."""

    def __init__(
        self,
        library: ctypes.CDLL,
        level: Level,
        config: DecoderConfig,
        shape: Shape,
        rotary: Rotary,
        pieces: Sequence[Piece],
        n_threads: int,
        shares_tiles: bool,
    ) -> None:
        self._library, self._level, self._config = library, level, config
        self._shape, self._rotary, self._n_threads = shape, rotary, n_threads
        self._pieces = pieces
        self._positions = positions_of(pieces)
        self._rows = len(self._positions)
        self._piece_table, self._prefix_table, self._prefix_rows = _describe(pieces, shares_tiles)
        # Where fewer places than numbers are written, a later step would read old ones.
        self._type = level.activations
        self._q = torch.empty(self._rows, config.n_heads, config.head_dim, dtype=self._type)
        self._state = torch.empty(self._rows * config.n_heads * (config.head_dim + 2))

    def attend(
        self,
        layer: int,
        qkv: torch.Tensor,
        q_gain: torch.Tensor | None,
        k_gain: torch.Tensor | None,
    ) -> torch.Tensor:
        """Run the kernel; see `AttentionStep.attend`."""
        if qkv.dtype is not self._type or not qkv.is_contiguous() or len(qkv) != self._rows:
            raise ValueError(
                f"the native kernel takes {self._rows} contiguous rows of {self._type}, got "
                f"{tuple(qkv.shape)} of {qkv.dtype}"
            )
        lib, c, level = self._library, self._config, self._level
        pieces, prefixes = self._piece_table, self._prefix_table
        failed = lib.loom_file_rows(
            *(level, address(qkv), address(self._q), address(self._rotary.cos)),
            *(address(self._rotary.sin), address(self._positions), address(q_gain)),
            *(address(k_gain), c.norm_eps, pieces.ctypes.data, len(pieces)),
            *(self._shape, layer, self._n_threads),
        )
        out = torch.empty(self._rows, c.n_heads * c.head_dim, dtype=self._type)
        failed = failed or lib.loom_attend(
            *(level, address(self._q), address(out), address(self._state), self._rows),
            *(pieces.ctypes.data, len(pieces), prefixes.ctypes.data, len(prefixes)),
            *(self._prefix_rows.ctypes.data, self._shape, layer, self._n_threads),
        )
        if failed:
            raise RuntimeError(f"the native kernel refused the step with code {failed}")
        return out

    def finish(self) -> None:
        """Count the rows as held."""
        for piece in self._pieces:
            piece.own.length += len(piece)


def _describe(
    pieces: Sequence[Piece], shares_tiles: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Tables of pieces and of prefixes, and the rows that attend to each prefix."""
    place: dict[tuple[int, int], int] = {}
    spans: list[PackedSpan] = []
    rows: list[list[NDArray[np.int64]]] = []
    table = np.zeros(len(pieces), _PIECE)
    for index, piece in enumerate(pieces):
        own, prefix = piece.own, -1
        assert isinstance(own, PackedSpan)
        if piece.prefix is not None and piece.prefix.length:
            assert isinstance(piece.prefix, PackedSpan)
            alone = 0 if shares_tiles else index + 1
            prefix = place.setdefault((id(piece.prefix), alone), len(spans))
            if prefix == len(spans):
                spans.append(piece.prefix)
                rows.append([])
            rows[prefix].append(np.arange(piece.rows.start, piece.rows.stop))
        strides = own.store.stride()
        table[index] = (
            *(piece.rows.start, len(piece), prefix, own.length, strides[1], strides[0]),
            own.store.data_ptr(),
        )
    prefixes = np.zeros(len(spans), _PREFIX)
    first = 0
    for index, (span, mine) in enumerate(zip(spans, rows, strict=True)):
        n_items = sum(map(len, mine))
        strides = span.store.stride()
        prefixes[index] = (
            *(span.length, strides[1], strides[0], first, n_items),
            span.store.data_ptr(),
        )
        first += n_items
    together = [row for mine in rows for row in mine]
    flat = np.concatenate(together) if together else np.zeros(0, np.int64)
    return table, prefixes, flat.astype(np.int64)

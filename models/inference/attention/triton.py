"""Attention by Triton kernels on a graphics processor; see `models/inference/attention/gpu`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from models.errors import ConfigError
from models.inference.attention.base import Piece, check_room
from models.inference.attention.gpu.kernels import attend_parts, file_rows, merge_parts
from models.inference.attention.gpu.work import Tables, Tiling, tables
from models.inference.attention.reference import TensorSpans
from models.inference.model.architecture import DecoderConfig
from models.inference.model.rotary import Rotary

DIMS = (32, 64, 128, 256)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)

# Programs that are given out per multiprocessor: the last of them are then a small share.
_PROGRAMS_PER_PROCESSOR = 4
# Two stages of a block of keys and of values, and the tile of queries, fit the smallest shared
# memory of compute capability 8.x, 99 KiB a program.
_BLOCK_BYTES = 16 * 1024
_MOST_KEYS = 64
STAGES = 2
# Exact float32 products do not run on tensor cores; larger tiles spill registers by kilobytes.
_WIDE_LANES, _FLOAT_LANES, _FLOAT_KEYS = 64, 32, 16
# Values of results that one merging program holds: 16 per thread.
MERGED_VALUES = 2_048
FILED_ROWS = 32


class TritonAttention(TensorSpans):
    """Softmax over prefix and own keys in parts, each prefix read once for all who share it."""

    name = "triton"

    def __init__(
        self,
        config: DecoderConfig,
        dtype: torch.dtype,
        device: torch.device,
        is_deterministic: bool = False,
    ) -> None:
        """Prepare for one model on one device.

        Args:
            config: Heads and angles.
            dtype: Type of queries, keys and values; sums are float32.
            device: Where they are.
            is_deterministic: A row gives the same values whatever shares its step: tiles of one
                size, and ranges of keys that are cut at fixed places.

        Raises:
            ConfigError: The kernels do not take this head size or type.
        """
        if config.head_dim not in DIMS:
            raise ConfigError(
                f"heads of {config.head_dim} values do not fit the Triton kernels, which take "
                f"{', '.join(map(str, DIMS))}; use the reference attention"
            )
        if dtype not in DTYPES:
            raise ConfigError(
                f"the Triton kernels take float16, bfloat16 and float32, got {dtype}; use the "
                "reference attention"
            )
        super().__init__(config, dtype, device)
        self._tiling = tiling_for(config, dtype, _processors(device), is_deterministic)
        rotary = Rotary(config)
        self._cos, self._sin = rotary.cos.to(device), rotary.sin.to(device)

    def open(self, pieces: Sequence[Piece]) -> TritonStep:
        """Write the step's list of work; see `Attention.open`."""
        check_room(pieces)
        work = tables(pieces, self._config.head_dim, self._tiling)
        return TritonStep(self._config, self._tiling, pieces, work, self._cos, self._sin)


class TritonStep:
    """One step of `TritonAttention`: the same list of work serves all layers."""

    def __init__(
        self,
        config: DecoderConfig,
        tiling: Tiling,
        pieces: Sequence[Piece],
        work: Tables,
        cos: torch.Tensor,
        sin: torch.Tensor,
    ) -> None:
        self._config, self._tiling, self._pieces = config, tiling, pieces
        self._cos, self._sin = cos, sin
        # One copy to the device for all tables.
        parts = (work.rows, work.entries, work.listed, work.merges)
        flat = torch.from_numpy(np.concatenate([part.ravel() for part in parts]))
        flat_parts = torch.split(flat.to(cos.device), [part.size for part in parts])
        self._rows, self._entries, self._listed, self._merges = (
            table.view(part.shape) for table, part in zip(flat_parts, parts, strict=True)
        )
        values = (work.n_slots, config.n_heads, config.head_dim)
        self._part_out = torch.empty(values, dtype=torch.float32, device=cos.device)
        self._part_lse = torch.empty(values[:2], dtype=torch.float32, device=cos.device)

    def attend(
        self,
        layer: int,
        qkv: torch.Tensor,
        q_gain: torch.Tensor | None,
        k_gain: torch.Tensor | None,
    ) -> torch.Tensor:
        """Launch the kernels; see `AttentionStep.attend`."""
        c, tiling, n_rows = self._config, self._tiling, self._rows.shape[1]
        width = (c.n_heads + 2 * c.n_kv_heads) * c.head_dim
        if n_rows * width >= 2**31:
            raise ValueError(
                f"the Triton kernels take fewer than 2**31 values, got {n_rows} rows of {width}; "
                "plan smaller steps"
            )
        if qkv.shape != (n_rows, width) or not qkv.is_contiguous():
            raise ValueError(
                f"the Triton kernels take {n_rows} contiguous rows of {width} values, got "
                f"{tuple(qkv.shape)}"
            )
        q = qkv.new_empty(n_rows, c.n_heads, c.head_dim)
        out = torch.empty_like(q)
        is_normed = q_gain is not None and k_gain is not None
        file_rows[-(-n_rows // FILED_ROWS), c.n_heads + 2 * c.n_kv_heads](
            *(qkv, q, self._cos, self._sin),
            *((q_gain, k_gain) if is_normed else (qkv, qkv)),
            *(self._rows, n_rows, layer, c.norm_eps),
            *(c.n_heads, c.n_kv_heads, c.head_dim, is_normed, FILED_ROWS),
        )
        parts = (self._part_out, self._part_lse)
        attend_parts[len(self._entries) * c.n_kv_heads,](
            *(q, out, *parts, self._entries, self._listed, self._listed.shape[1], layer),
            *(c.head_dim**-0.5 * math.log2(math.e), c.n_kv_heads, tiling.repeat, c.head_dim),
            *(tiling.narrow, tiling.wide, tiling.keys),
            num_warps=tiling.warps,
            num_stages=STAGES,
        )
        n_merges = self._merges.shape[1]
        if n_merges:
            pairs = MERGED_VALUES // c.head_dim
            merge_parts[-(-n_merges * c.n_heads // pairs),](
                *(*parts, out, self._merges, n_merges, c.n_heads, c.head_dim, pairs)
            )
        return out.view(n_rows, c.n_heads * c.head_dim)

    def finish(self) -> None:
        """Count the rows as held."""
        for piece in self._pieces:
            piece.own.length += len(piece)


def tiling_for(
    config: DecoderConfig, dtype: torch.dtype, n_processors: int, is_deterministic: bool
) -> Tiling:
    """Return the sizes of tiles for a model.

    Args:
        config: Heads.
        dtype: Type of keys and values.
        n_processors: Multiprocessors of the device.
        is_deterministic: See `TritonAttention`.
    """
    repeat = config.n_heads // config.n_kv_heads
    # Tensor cores take 16 rows at the least; all query heads of a KV head stand in one tile.
    at_least = 1 << (repeat - 1).bit_length()
    is_float = dtype is torch.float32
    wide = max(_FLOAT_LANES if is_float else _WIDE_LANES, at_least)
    keys = min(_MOST_KEYS, _BLOCK_BYTES // (config.head_dim * dtype.itemsize))
    return Tiling(
        repeat=repeat,
        narrow=wide if is_deterministic else max(16, at_least),
        wide=wide,
        keys=_FLOAT_KEYS if is_float else keys,
        kv_heads=config.n_kv_heads,
        programs=_PROGRAMS_PER_PROCESSOR * n_processors,
        warps=8 if config.head_dim == 256 else 4,
        part_keys=512 if is_deterministic else None,
    )


def _processors(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)

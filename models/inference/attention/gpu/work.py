"""The host's part of a step: which tiles of rows attend to which keys, longest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.inference.attention.base import Piece
from models.inference.attention.reference import TensorSpan

Ints = NDArray[np.int64]

# A part costs a write and a read of its result, head_dim float32 values, per row: as much as a
# few keys. Ranges shorter than this are not cut.
LEAST_KEYS = 256


@dataclass(frozen=True)
class Tiling:
    """Sizes that the kernels are compiled for.

    Attributes:
        repeat: Query heads per KV head; they stand beside each other in a tile.
        narrow: Lanes (row and query head) of a small tile, which decoding rows take.
        wide: Lanes of a large tile.
        keys: Keys that are taken at a time.
        kv_heads: Each entry is run once for each of them.
        programs: Runs that fill the processor; ranges of keys are cut until there are as many.
        warps: Of 32 threads each, per program.
        part_keys: Most keys of an entry whatever else the step holds; None: by `programs`.
    """

    repeat: int
    narrow: int
    wide: int
    keys: int
    kv_heads: int
    programs: int
    warps: int
    part_keys: int | None

    def longest(self, tile_keys: Ints) -> int:
        """Return the most keys of an entry, whole blocks, given the keys of each tile."""
        if self.part_keys is not None:
            return self.part_keys
        fair = int(tile_keys.sum()) * self.kv_heads // self.programs
        return max(-(-fair // self.keys) * self.keys, LEAST_KEYS)


class Tables(NamedTuple):
    """A step as the kernels read it; see `kernels`.

    Attributes:
        rows: (3, rows): position, address of the row in its span, values between heads.
        entries: (n, 8), longest first.
        listed: (3, n_listed): row, keys it sees, first slot or -1.
        merges: (3, n_merges): row, first slot, slots.
        n_slots: Partial results of all rows.
    """

    rows: Ints
    entries: Ints
    listed: Ints
    merges: Ints
    n_slots: int


class _Sections(NamedTuple):
    """Rows that attend to one span: those that are filed in it, or those that share it.

    Attributes:
        address, stride: Of the span; see `Tables`.
        first, n: Listed rows.
        seen: Keys before the first of these rows.
        is_causal: 1 where each row sees one key more than the row before it, 0 where all see
            the same.
    """

    address: Ints
    stride: Ints
    first: Ints
    n: Ints
    seen: Ints
    is_causal: Ints


def tables(pieces: Sequence[Piece], dim: int, tiling: Tiling) -> Tables:
    """Describe a step.

    Args:
        pieces: See `Attention.open`.
        dim: Values of a head.
        tiling: Sizes of tiles.
    """
    own = _own_sections(pieces, dim)
    shared, sharing = _shared_sections(pieces, dim, int(own.n.sum()))
    sections = _Sections(*(np.concatenate(both) for both in zip(own, shared, strict=True)))
    n_rows = int(own.n.sum())
    section_of = np.repeat(np.arange(len(sections.n)), sections.n)
    within = np.arange(len(section_of)) - sections.first[section_of]
    causal = sections.is_causal[section_of]
    # A row sees itself; what is shared, it sees whole.
    sees = sections.seen[section_of] + causal * (within + 1)
    row = np.concatenate([np.arange(n_rows), sharing])

    entries, tile_n, n_parts = _entries(sections, tiling)
    # Listed rows lie in the order of the tiles, so a tile's number of parts is its rows' too.
    parts = np.repeat(n_parts, tile_n)
    slots = np.zeros(n_rows, np.int64)
    np.add.at(slots, row, parts)
    is_merged = slots > 1
    begin = np.where(is_merged, np.cumsum(slots * is_merged) - slots * is_merged, -1)
    first_slot = begin[row]
    # A row's parts over what it shares come first, then those over its own keys.
    before = slots - parts[:n_rows]
    first_slot[:n_rows] += np.where(is_merged, before, 0)

    merged = np.flatnonzero(is_merged)
    filed = own.seen[section_of[:n_rows]] + within[:n_rows]
    before_own = [p.prefix.length if p.prefix is not None else 0 for p in pieces]
    position = np.repeat(before_own, own.n) + filed
    itemsize = _span(pieces[0].own).store.element_size()
    address = own.address[section_of[:n_rows]] + filed * dim * itemsize
    return Tables(
        np.stack([position, address, own.stride[section_of[:n_rows]]]),
        entries[np.argsort(-_cost(entries, tiling), kind="stable")],
        np.stack([row, sees, first_slot]),
        np.stack([merged, begin[merged], slots[merged]]),
        int(slots[merged].sum()),
    )


def _own_sections(pieces: Sequence[Piece], dim: int) -> _Sections:
    numbers = [
        (
            *(_span(p.own).store.data_ptr(), p.own.capacity * dim),
            *(p.rows.start, len(p), p.own.length, 1),
        )
        for p in pieces
    ]
    return _Sections(*np.array(numbers, np.int64).reshape(-1, 6).T)


def _shared_sections(pieces: Sequence[Piece], dim: int, first: int) -> tuple[_Sections, Ints]:
    """Sections of prefixes, and their rows one after the other."""
    place: dict[int, int] = {}
    spans: list[TensorSpan] = []
    sharing: list[tuple[int, int, int]] = []
    for piece in pieces:
        shared = piece.prefix
        if shared is not None and shared.length:
            at = place.setdefault(id(shared), len(spans))
            if at == len(spans):
                spans.append(_span(shared))
            sharing.append((at, piece.rows.start, len(piece)))
    section, begin, n_rows = np.array(sorted(sharing), np.int64).reshape(-1, 3).T
    of, within = _spread(n_rows)
    n = np.bincount(section, n_rows, len(spans)).astype(np.int64)
    numbers = [(s.store.data_ptr(), s.capacity * dim, s.length) for s in spans]
    address, stride, seen = np.array(numbers, np.int64).reshape(-1, 3).T
    sections = _Sections(address, stride, first + np.cumsum(n) - n, n, seen, np.zeros_like(n))
    return sections, begin[of] + within


def _entries(sections: _Sections, tiling: Tiling) -> tuple[Ints, Ints, Ints]:
    """Cut sections into tiles of rows and these into parts of keys.

    Returns:
        The entries; rows and parts of each tile.
    """
    is_narrow = sections.n * tiling.repeat <= tiling.narrow
    height = np.where(is_narrow, tiling.narrow, tiling.wide) // tiling.repeat
    n_tiles = -(-sections.n // height)
    section, tile = _spread(n_tiles)
    begin = tile * height[section]
    n = np.minimum(sections.n[section] - begin, height[section])
    first = sections.first[section] + begin
    causal = sections.is_causal[section]
    # What the first and the last row of the tile see.
    common = sections.seen[section] + causal * (begin + 1)
    end = sections.seen[section] + causal * (begin + n)

    step = tiling.longest(end)
    n_parts = -(-end // step)
    of, part = _spread(n_parts)
    first_key = part * step
    end_key = np.minimum(first_key + step, end[of])
    blocks = np.maximum(np.minimum(common[of], end_key) - first_key, 0) // tiling.keys
    columns = (
        *(sections.address[section][of], sections.stride[section][of]),
        *(first_key, first_key + blocks * tiling.keys, end_key),
        *(first[of], n[of], part),
    )
    return np.stack(columns, 1), n, n_parts


def _spread(counts: Ints) -> tuple[Ints, Ints]:
    """For counts (2, 1): which of them (0, 0, 1), and the how manieth (0, 1, 0)."""
    of = np.repeat(np.arange(len(counts)), counts)
    return of, np.arange(len(of)) - (np.cumsum(counts) - counts)[of]


def _cost(entries: Ints, tiling: Tiling) -> Ints:
    """Work of entries: blocks of keys times lanes."""
    blocks = -(-(entries[:, 4] - entries[:, 2]) // tiling.keys)
    is_narrow = entries[:, 6] * tiling.repeat <= tiling.narrow
    cost: Ints = blocks * np.where(is_narrow, tiling.narrow, tiling.wide)
    return cost


def _span(span: object) -> TensorSpan:
    assert isinstance(span, TensorSpan)
    return span

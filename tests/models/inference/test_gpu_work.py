"""The list of work of a step: every row meets every key that it sees, once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference.attention.base import Piece
from models.inference.attention.gpu.work import LEAST_KEYS, Tables, Tiling, tables
from models.inference.attention.reference import ReferenceAttention, TensorSpan
from tests.models.inference.engine_cases import tiny

CONFIG = tiny(n_layers=1, n_heads=3, n_kv_heads=1, head_dim=32)
TILING = Tiling(
    repeat=3, narrow=16, wide=32, keys=16, kv_heads=1, programs=4, warps=4, part_keys=None
)


def span(length: int, capacity: int) -> TensorSpan:
    made = ReferenceAttention(CONFIG, torch.float32).new_span(capacity)
    made.length = length
    return made


def step(seed: int) -> list[Piece]:
    """Members of up to three prefixes in any order, strangers, chunks and single rows."""
    draws = np.random.default_rng(seed)
    prefixes = [span(n := int(draws.integers(0, 900)), n + 3) for _ in range(3)]
    pieces, at = [], 0
    for _ in range(draws.integers(1, 12)):
        n = int(draws.choice([1, 2, 5, 6, 11, 40]))
        held = int(draws.integers(0, 300))
        prefix = prefixes[draws.integers(3)] if draws.random() < 0.7 else None
        pieces.append(Piece(slice(at, at + n), prefix, span(held, held + n + 2)))
        at += n
    return pieces


def met(work: Tables) -> Counter[tuple[int, int, int]]:
    """How often each row meets each key, (row, address of the span, key)."""
    seen: Counter[tuple[int, int, int]] = Counter()
    for address, _, first, _, end, listed, n, _ in work.entries.tolist():
        for row, limit, _ in work.listed[:, listed : listed + n].T.tolist():
            seen.update((row, address, key) for key in range(first, min(end, limit)))
    return seen


@pytest.mark.parametrize("part_keys", [None, 48])
def test_every_row_meets_every_key_that_it_sees_once(part_keys: int | None):
    for seed in range(12):
        pieces = step(seed)
        expected: Counter[tuple[int, int, int]] = Counter()
        for piece in pieces:
            for place in range(len(piece)):
                row = piece.rows.start + place
                for held, n in ((piece.prefix, 0), (piece.own, place + 1)):
                    if held is not None:
                        n = held.length + n
                        expected.update((row, held.store.data_ptr(), key) for key in range(n))
        work = tables(pieces, 32, replace(TILING, part_keys=part_keys))
        assert met(work) == expected


def test_blocks_that_need_no_mask_are_seen_by_all_rows_of_their_tile():
    for seed in range(12):
        work = tables(step(seed), 32, replace(TILING, part_keys=48))
        for _, _, first, common, end, listed, n, _ in work.entries.tolist():
            limits = work.listed[1, listed : listed + n]
            assert (common - first) % TILING.keys == 0
            assert first <= common <= min(end, limits.min()) or common == first
            # And no whole block that all of them see is left to the mask.
            assert min(end, limits.min()) - common < TILING.keys


def test_parts_of_a_row_fill_its_slots_once_and_single_parts_need_none():
    for seed in range(12):
        work = tables(step(seed), 32, replace(TILING, part_keys=48))
        filled: Counter[int] = Counter()
        whole: Counter[int] = Counter()
        for *_, listed, n, part in work.entries.tolist():
            for row, _, slot in work.listed[:, listed : listed + n].T.tolist():
                if slot < 0:
                    whole[row] += 1
                else:
                    filled[slot + part] += 1
        assert filled == Counter(range(work.n_slots))
        merged = {row: range(slot, slot + n) for row, slot, n in work.merges.T.tolist()}
        assert sum(map(len, merged.values())) == work.n_slots
        assert set(whole.values()) <= {1}
        assert whole.keys().isdisjoint(merged)
        assert whole.keys() | merged.keys() == set(range(work.rows.shape[1]))


def test_a_prefix_is_one_section_however_its_members_are_scattered():
    shared, pieces = span(320, 320), []
    for place in range(10):
        prefix = shared if place % 2 else None
        pieces.append(Piece(slice(place, place + 1), prefix, span(4, 8)))
    work = tables(pieces, 32, replace(TILING, part_keys=320))
    entries = [e for e in work.entries.tolist() if e[0] == shared.store.data_ptr()]
    assert [(first, end, n) for _, _, first, _, end, _, n, _ in entries] == [(0, 320, 5)]
    assert work.entries[0].tolist() == entries[0]  # the longest goes first


def test_long_ranges_are_cut_until_they_fill_the_processor_and_no_further():
    lone = [Piece(slice(0, 1), span(100_000, 100_000), span(0, 1))]
    wide = replace(TILING, programs=400)
    assert len(tables(lone, 32, wide).entries) == 1 + -(-100_000 // LEAST_KEYS)
    few = tables(lone, 32, TILING).entries
    assert len(few) == 1 + 4
    short = [Piece(slice(0, 1), None, span(LEAST_KEYS - 2, LEAST_KEYS))]
    assert len(tables(short, 32, wide).entries) == 1


def test_rows_are_filed_after_what_their_span_holds():
    own = span(5, 12)
    work = tables([Piece(slice(0, 3), span(70, 80), own)], 32, TILING)
    position, address, stride = work.rows
    assert position.tolist() == [75, 76, 77]
    row_bytes = 32 * 4
    assert (address - own.store.data_ptr()).tolist() == [n * row_bytes for n in (5, 6, 7)]
    assert stride.tolist() == [12 * 32] * 3

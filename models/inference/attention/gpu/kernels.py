"""Triton kernels: file keys and values, attend in parts, merge the parts.

Spans are separate tensors of shape (layers, 2, kv_heads, capacity, head_dim), so kernels get
their addresses as numbers in tables. Tables are int64; their columns are those of `work`.
"""

# Triton ships no types, and what its decorator takes is a language of its own.
# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl

# Not specialised: numbers that change with step and layer, and tables that begin anywhere in one
# tensor. Triton would compile anew for the number 1, for multiples of 16, and for aligned tables.


@triton.jit(do_not_specialize=["layer", "n_rows"], do_not_specialize_on_alignment=["row_table"])
def file_rows(
    qkv,
    q_out,
    cos,
    sin,
    q_gain,
    k_gain,
    row_table,
    n_rows,
    layer,
    eps,
    HEADS: tl.constexpr,
    KV_HEADS: tl.constexpr,
    DIM: tl.constexpr,
    IS_NORMED: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Rotate queries and keys, and put keys and values where their spans keep them.

    Grid: (blocks of ROWS rows, HEADS + 2 KV_HEADS). All arithmetic is float32, rounded once.

    Args:
        qkv: Projections, (n_rows, (HEADS + 2 KV_HEADS) DIM).
        q_out: Rotated queries, (n_rows, HEADS, DIM).
        cos: Cosines by position, (positions, DIM / 2), float32.
        sin: Sines, likewise.
        q_gain: Gain of normalised queries, (DIM,); not read unless IS_NORMED.
        k_gain: The same for keys.
        row_table: (3, n_rows): position; address of the row in head 0 of the keys of layer 0;
            values between two heads of its span.
        n_rows: Rows of the step.
        layer: Which layer.
        eps: Added to the mean square before the root.
        HEADS: Query heads.
        KV_HEADS: Heads of keys and values.
        DIM: Values of a head.
        IS_NORMED: Whether queries and keys are normalised per head.
        ROWS: Rows of a program.
    """
    half: tl.constexpr = DIM // 2
    head = tl.program_id(1)
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    is_row = row < n_rows
    is_value = is_row[:, None]
    place = tl.arange(0, half)
    source = qkv + (row * (HEADS + 2 * KV_HEADS) * DIM + head * DIM)[:, None] + place[None, :]
    first = tl.load(source, mask=is_value, other=0.0).to(tl.float32)
    second = tl.load(source + half, mask=is_value, other=0.0).to(tl.float32)
    if head < HEADS + KV_HEADS:
        if IS_NORMED:
            square = tl.sum(first * first, 1) + tl.sum(second * second, 1)
            scale = (1.0 / tl.sqrt_rn(square / DIM + eps))[:, None]
            gain = q_gain
            if head >= HEADS:
                gain = k_gain
            first = first * scale * tl.load(gain + place).to(tl.float32)[None, :]
            second = second * scale * tl.load(gain + half + place).to(tl.float32)[None, :]
        position = tl.load(row_table + row, mask=is_row, other=0)
        angle = (position * half)[:, None] + place[None, :]
        turned_cos = tl.load(cos + angle, mask=is_value, other=0.0)
        turned_sin = tl.load(sin + angle, mask=is_value, other=0.0)
        low = first * turned_cos - second * turned_sin
        second = second * turned_cos + first * turned_sin
        first = low
    if head < HEADS:
        target = q_out + ((row * HEADS + head) * DIM)[:, None] + place[None, :]
        tl.store(target, first.to(q_out.dtype.element_ty), mask=is_value)
        tl.store(target + half, second.to(q_out.dtype.element_ty), mask=is_value)
    else:
        address = tl.load(row_table + n_rows + row, mask=is_row, other=0)
        stride = tl.load(row_table + 2 * n_rows + row, mask=is_row, other=0)
        # Keys of all heads of a layer, then its values: heads after HEADS count through both.
        offset = (layer * 2 * KV_HEADS + head - HEADS) * stride
        start = address.to(tl.pointer_type(qkv.dtype.element_ty)) + offset
        kept = start[:, None] + place[None, :]
        tl.store(kept, first.to(qkv.dtype.element_ty), mask=is_value)
        tl.store(kept + half, second.to(qkv.dtype.element_ty), mask=is_value)


@triton.jit
def _take_keys(
    tile,
    keys,
    values,
    begin,
    end,
    limit,
    best,
    total,
    mixed,
    scale,
    DIM: tl.constexpr,
    KEYS: tl.constexpr,
    IS_MASKED: tl.constexpr,
):
    """Go on by KEYS keys in a softmax that is taken key by key (Milakov & Gimelshein 2018)."""
    place = tl.arange(0, KEYS)
    key = begin + place
    at = place[:, None] * DIM + tl.arange(0, DIM)[None, :]
    keys += begin * DIM
    values += begin * DIM
    if IS_MASKED:
        k = tl.load(keys + at, mask=(key < end)[:, None], other=0.0)
    else:
        k = tl.load(keys + at)
    scores = tl.dot(tile, tl.trans(k), input_precision="ieee") * scale
    if IS_MASKED:
        is_seen = (key[None, :] < limit[:, None]) & (key < end)[None, :]
        scores = tl.where(is_seen, scores, -float("inf"))
    new_best = tl.maximum(best, tl.max(scores, 1))
    # A row that has seen no key yet has no largest score to subtract.
    shift = tl.where(new_best == -float("inf"), 0.0, new_best)
    old = tl.exp2(best - shift)
    weights = tl.exp2(scores - shift[:, None])
    if IS_MASKED:
        v = tl.load(values + at, mask=(key < end)[:, None], other=0.0)
    else:
        v = tl.load(values + at)
    mixed = mixed * old[:, None]
    mixed = tl.dot(weights.to(v.dtype), v, mixed, input_precision="ieee")
    return new_best, total * old + tl.sum(weights, 1), mixed


@triton.jit
def _attend_tile(
    q,
    out,
    part_out,
    part_lse,
    entry,
    row_list,
    n_listed,
    kv_head,
    layer,
    scale,
    KV_HEADS: tl.constexpr,
    REPEAT: tl.constexpr,
    DIM: tl.constexpr,
    LANES: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Attend LANES pairs of row and query head to the keys of one entry."""
    heads: tl.constexpr = KV_HEADS * REPEAT
    lane = tl.arange(0, LANES)
    is_lane = lane // REPEAT < tl.load(entry + 6)
    listed = tl.load(entry + 5) + lane // REPEAT
    row = tl.load(row_list + listed, mask=is_lane, other=0)
    limit = tl.load(row_list + n_listed + listed, mask=is_lane, other=0)
    slot = tl.load(row_list + 2 * n_listed + listed, mask=is_lane, other=-1)
    dims = tl.arange(0, DIM)
    place = row * heads + kv_head * REPEAT + lane % REPEAT
    # Half the registers of 64-bit places; `TritonStep` sees to it that they fit.
    at = (place * DIM).to(tl.int32)[:, None] + dims[None, :]
    tile = tl.load(q + at, mask=is_lane[:, None], other=0.0)

    # Rows are of 32 values at the least: without these hints, keys are loaded value by value.
    stride = tl.multiple_of(tl.load(entry + 1), 16)
    base = tl.multiple_of(tl.load(entry).to(tl.pointer_type(q.dtype.element_ty)), 16)
    keys = base + (layer * 2 * KV_HEADS + kv_head) * stride
    values = keys + KV_HEADS * stride
    first_key = tl.load(entry + 2).to(tl.int32)
    common = tl.load(entry + 3).to(tl.int32)
    end = tl.load(entry + 4).to(tl.int32)
    best = tl.full((LANES,), -float("inf"), tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    mixed = tl.zeros((LANES, DIM), tl.float32)
    for begin in range(first_key, common, KEYS):
        best, total, mixed = _take_keys(
            tile, keys, values, begin, end, limit, best, total, mixed, scale, DIM, KEYS, False
        )
    for begin in range(common, end, KEYS):
        best, total, mixed = _take_keys(
            tile, keys, values, begin, end, limit, best, total, mixed, scale, DIM, KEYS, True
        )
    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]

    is_whole = is_lane & (slot < 0)
    tl.store(out + at, mixed.to(out.dtype.element_ty), mask=is_whole[:, None])
    is_part = is_lane & (slot >= 0)
    part = (slot + tl.load(entry + 7)) * heads + kv_head * REPEAT + lane % REPEAT
    tl.store(part_out + (part * DIM)[:, None] + dims[None, :], mixed, mask=is_part[:, None])
    # Without a key seen, both are what makes the part weigh nothing.
    lse = best + tl.log2(tl.where(total == 0.0, 1.0, total))
    tl.store(part_lse + part, lse, mask=is_part)


@triton.jit(
    do_not_specialize=["layer", "n_listed"], do_not_specialize_on_alignment=["entries", "row_list"]
)
def attend_parts(
    q,
    out,
    part_out,
    part_lse,
    entries,
    row_list,
    n_listed,
    layer,
    scale,
    KV_HEADS: tl.constexpr,
    REPEAT: tl.constexpr,
    DIM: tl.constexpr,
    NARROW: tl.constexpr,
    WIDE: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Attend every entry of a step's list of work, in one launch.

    Grid: (entries x KV_HEADS,). An entry is a tile of rows and a range of the keys of one span;
    the query heads of a KV head stand as lanes beside each other, so that its keys are read
    once for all of them. A row whose keys are all in one entry gets its result at once, others
    get a part, in float32, with the logarithm (base 2) of its sum.

    Args:
        q: Rotated queries, (rows, heads, DIM).
        out: Results, (rows, heads, DIM).
        part_out: Results of parts, (slots, heads, DIM), float32.
        part_lse: Their logarithms, (slots, heads), float32.
        entries: (n, 8): address of the span; values between two of its heads; first key; end of
            the whole blocks of keys that all rows see; end of the keys; first listed row;
            listed rows; which part of these rows.
        row_list: (3, n_listed): row of the step; keys it sees; first slot, -1 for none.
        n_listed: Listed rows.
        layer: Which layer.
        scale: Of scores, for powers of two.
        KV_HEADS: Heads of keys and values.
        REPEAT: Query heads for each of them.
        DIM: Values of a head.
        NARROW: Lanes of a small tile.
        WIDE: Lanes of a large tile.
        KEYS: Keys that are taken at a time.
    """
    entry = entries + (tl.program_id(0) // KV_HEADS) * 8
    kv_head = tl.program_id(0) % KV_HEADS
    if tl.load(entry + 6) * REPEAT <= NARROW:
        _attend_tile(
            q, out, part_out, part_lse, entry, row_list, n_listed, kv_head, layer, scale,
            KV_HEADS, REPEAT, DIM, NARROW, KEYS,
        )  # fmt: skip
    else:
        _attend_tile(
            q, out, part_out, part_lse, entry, row_list, n_listed, kv_head, layer, scale,
            KV_HEADS, REPEAT, DIM, WIDE, KEYS,
        )  # fmt: skip


@triton.jit(do_not_specialize=["n_merges"], do_not_specialize_on_alignment=["merges"])
def merge_parts(
    part_out,
    part_lse,
    out,
    merges,
    n_merges,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """Weigh the parts of rows that have several by their sums.

    Grid: (blocks of PAIRS pairs of a row and a head,).

    Args:
        part_out: See `attend_parts`.
        part_lse: See `attend_parts`.
        out: See `attend_parts`.
        merges: (3, n_merges): row of the step, first slot, slots.
        n_merges: Rows with several parts.
        HEADS: Query heads.
        DIM: Values of a head.
        PAIRS: Rows and heads of a program.
    """
    pair = tl.program_id(0).to(tl.int64) * PAIRS + tl.arange(0, PAIRS)
    merge, head = pair // HEADS, pair % HEADS
    is_pair = merge < n_merges
    row = tl.load(merges + merge, mask=is_pair, other=0)
    first = tl.load(merges + n_merges + merge, mask=is_pair, other=0)
    n_slots = tl.load(merges + 2 * n_merges + merge, mask=is_pair, other=0)
    dims = tl.arange(0, DIM)
    best = tl.full((PAIRS,), -float("inf"), tl.float32)
    total = tl.zeros((PAIRS,), tl.float32)
    mixed = tl.zeros((PAIRS, DIM), tl.float32)
    for part in range(tl.max(n_slots, 0)):
        is_part = part < n_slots
        place = (first + part) * HEADS + head
        lse = tl.load(part_lse + place, mask=is_part, other=-float("inf"))
        at = (place * DIM)[:, None] + dims[None, :]
        value = tl.load(part_out + at, mask=is_part[:, None], other=0.0)
        new_best = tl.maximum(best, lse)
        shift = tl.where(new_best == -float("inf"), 0.0, new_best)
        old = tl.exp2(best - shift)
        weight = tl.exp2(lse - shift)
        mixed = mixed * old[:, None] + value * weight[:, None]
        total = total * old + weight
        best = new_best
    mixed = mixed / tl.where(total == 0.0, 1.0, total)[:, None]
    target = out + ((row * HEADS + head) * DIM)[:, None] + dims[None, :]
    tl.store(target, mixed.to(out.dtype.element_ty), mask=is_pair[:, None])

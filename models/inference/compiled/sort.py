"""Exact lexicographic order of prompts with the longest common prefix of neighbours.

A range of prompts that agree on `depth` tokens is compared with one of them (a straight
scan), sorted by how far each agrees, and where several agree equally far by their next
`KEY_TOKENS` tokens; what is still equal waits on a stack. No hashes, so nothing can collide;
each shared token is read about once per prompt, and a chain of prompts that begin each other
takes log(n) rounds. The last token of a prompt takes no part: it is needed for logits.
"""

from __future__ import annotations

import numpy as np

from models.inference.compiled.base import Ids, Longs, compiled

KEY_TOKENS = 3
DIGIT_BITS = 21
"""Bits per token in a key; 0 says that the prompt has ended, so ids reach 2**21 - 2."""

_BLOCK = 64
_FEW = 24
_MIDDLE = 2**40


@compiled
def common_prefix(ids: Ids, a: int, b: int, depth: int, limit: int) -> int:
    """Tokens that the prompts at `a` and `b` share, at most `limit`, `depth` being known."""
    # Whole blocks without a branch per token, and unsigned places (no wrap-around to check):
    # the compiler makes wide compares of it, 0.1 ns per token instead of 1.1.
    while depth + _BLOCK <= limit:
        same = 0
        for j in range(_BLOCK):
            same += ids[np.uintp(a + depth + j)] == ids[np.uintp(b + depth + j)]
        if same != _BLOCK:
            break
        depth += _BLOCK
    while depth < limit and ids[a + depth] == ids[b + depth]:
        depth += 1
    return depth


@compiled
def _key(ids: Ids, begin: int, end: int) -> int:
    key = 0
    for j in range(KEY_TOKENS):
        digit = int(ids[begin + j]) + 1 if begin + j < end else 0
        key = (key << DIGIT_BITS) | digit
    return key


@compiled
def _common_digits(a: int, b: int) -> int:
    """Leading tokens that two keys share; a zero digit is the end, no token."""
    n = 0
    for j in range(KEY_TOKENS - 1, -1, -1):
        left = (a >> (DIGIT_BITS * j)) & ((1 << DIGIT_BITS) - 1)
        right = (b >> (DIGIT_BITS * j)) & ((1 << DIGIT_BITS) - 1)
        if left != right or left == 0:
            break
        n += 1
    return n


@compiled
def _sort_by(keys: Longs, order: Longs, lo: int, hi: int) -> None:
    """Sort `order[lo:hi]` and its keys, equal keys in their present order."""
    if hi - lo <= _FEW:
        for i in range(lo + 1, hi):
            key, row = keys[i], order[i]
            j = i - 1
            while j >= lo and keys[j] > key:
                keys[j + 1], order[j + 1] = keys[j], order[j]
                j -= 1
            keys[j + 1], order[j + 1] = key, row
        return
    places = np.argsort(keys[lo:hi], kind="mergesort")
    sorted_keys, sorted_rows = keys[lo:hi][places], order[lo:hi][places]
    keys[lo:hi] = sorted_keys
    order[lo:hi] = sorted_rows


@compiled
def sort_prompts(ids: Ids, offsets: Longs, tenants: Longs, order: Longs, lcp: Longs) -> None:
    """Bring `order` into lexicographic order within each tenant.

    Args:
        ids: Token ids of all prompts, one after another, shape (n_ids,).
        offsets: Where prompts begin, shape (n_prompts + 1,); no prompt is empty.
        tenants: Tenant of each prompt, shape (n_prompts,).
        order: Prompts by tenant at the start, all or some; equal prompts keep this order.
        lcp: Out: tokens shared with the neighbour before, the last token of a prompt never
            counted; -1 where a tenant begins. As long as `order`.
    """
    n = len(order)
    keys = np.empty(n, np.int64)
    stack = np.empty((n + 1, 3), np.int64)
    top = 0
    begin = 0
    for i in range(n):
        if i == 0 or tenants[order[i]] != tenants[order[i - 1]]:
            lcp[i] = -1
        if i + 1 == n or tenants[order[i + 1]] != tenants[order[i]]:
            if i + 1 - begin > 1:
                stack[top, 0], stack[top, 1], stack[top, 2] = begin, i + 1, 0
                top += 1
            begin = i + 1
    shares = np.empty(len(offsets) - 1, np.int64)
    while top > 0:
        top -= 1
        lo, hi, depth = stack[top, 0], stack[top, 1], stack[top, 2]
        # A pivot that no input order makes a bad one.
        chance = np.uint32(lo * 2_654_435_761 + hi * 40_503)
        _split_by_pivot(ids, offsets, order, keys, shares, lo, hi, depth, lo + chance % (hi - lo))
        begin = lo
        for i in range(lo + 1, hi + 1):
            if i < hi and keys[i] == keys[i - 1]:
                continue
            if i < hi:
                lcp[i] = min(shares[order[i - 1]], shares[order[i]])
            if i - begin > 1:
                top = _split_by_tokens(
                    ids, offsets, order, keys, lcp, begin, i, shares[order[begin]], stack, top
                )
            begin = i


@compiled
def _split_by_pivot(
    ids: Ids,
    offsets: Longs,
    order: Longs,
    keys: Longs,
    shares: Longs,
    lo: int,
    hi: int,
    depth: int,
    pivot: int,
) -> None:
    """Sort a range by what its prompts share with one of them.

    What comes before the pivot rises in shared tokens, what comes after falls. Prompts with
    one key share `shares` tokens with each other, neighbours of different keys the lesser.
    """
    middle = offsets[order[pivot]]
    length = offsets[order[pivot] + 1] - 1 - middle
    for i in range(lo, hi):
        begin, end = offsets[order[i]], offsets[order[i] + 1] - 1
        limit = min(length, end - begin)
        same = common_prefix(ids, middle, begin, depth, limit)
        shares[order[i]] = same
        if same == length and same == end - begin:
            keys[i] = _MIDDLE
        elif same == end - begin or (same < length and ids[begin + same] < ids[middle + same]):
            keys[i] = same
        else:
            keys[i] = 2 * _MIDDLE - same
    _sort_by(keys, order, lo, hi)


@compiled
def _split_by_tokens(
    ids: Ids,
    offsets: Longs,
    order: Longs,
    keys: Longs,
    lcp: Longs,
    lo: int,
    hi: int,
    depth: int,
    stack: Longs,
    top: int,
) -> int:
    """Sort prompts that share `depth` tokens by the next ones; push what shares those, too."""
    own = keys[lo:hi].copy()
    for i in range(lo, hi):
        row = order[i]
        keys[i] = _key(ids, offsets[row] + depth, offsets[row + 1] - 1)
    _sort_by(keys, order, lo, hi)
    begin = lo
    for i in range(lo + 1, hi + 1):
        if i < hi and keys[i] == keys[i - 1]:
            continue
        if i < hi:
            lcp[i] = depth + _common_digits(keys[i - 1], keys[i])
        if i - begin > 1:
            if keys[begin] & ((1 << DIGIT_BITS) - 1) == 0:
                # All of them have ended: equal but for their last tokens.
                lcp[begin + 1 : i] = depth + _common_digits(keys[begin], keys[begin])
                for j in range(begin, i):
                    keys[j] = ids[offsets[order[j] + 1] - 1]
                _sort_by(keys, order, begin, i)
            else:
                stack[top, 0], stack[top, 1], stack[top, 2] = begin, i, depth + KEY_TOKENS
                top += 1
        begin = i
    # The caller goes on comparing keys.
    keys[lo:hi] = own
    return top


@compiled
def repeats_before(
    ids: Ids, offsets: Longs, tenants: Longs, kinds: Longs, order: Longs, lcp: Longs
) -> Longs:
    """Positions in `order`: the first of a run of prompts that one computation answers.

    Equal ids, tenant and kind, and the kind is not negative. Shape (n_prompts,); a position
    that is not a repeat points to itself.
    """
    n = len(order)
    source = np.arange(n)
    for i in range(1, n):
        row, before = order[i], order[i - 1]
        length = offsets[row + 1] - offsets[row]
        if (
            kinds[row] >= 0
            and kinds[row] == kinds[before]
            and tenants[row] == tenants[before]
            and length == offsets[before + 1] - offsets[before]
            and lcp[i] == length - 1
            and ids[offsets[row + 1] - 1] == ids[offsets[before + 1] - 1]
        ):
            source[i] = source[i - 1]
    return source

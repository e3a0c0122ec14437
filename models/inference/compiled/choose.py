"""Which shared prefixes to compute: exactly, for any prices, and by the paper's rule.

What a subtree costs depends on one number only: how many tokens the nearest computed prefix
above it has. More of them never cost more, and the cost is concave and piecewise linear in
that number, so each node has a threshold: its own prefix is worth computing if and only if
fewer tokens are at hand. Breakpoints of a function are thresholds of nodes; they live in one
linked list per node, longest first, and are dropped as soon as no ancestor can reach them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.inference.compiled.base import Flags, Longs, Reals, compiled
from models.inference.compiled.tree import Nodes


class Prices(NamedTuple):
    """What a computed prefix costs, in any unit.

    Attributes:
        prefill: Computing one token.
        copy: Copying one token from the prefix above; `prefill` means that nothing is
            copied and all is computed again (one level, as in the paper).
        group: One more prefix, whatever its length.
        hold: Keeping one token of a prefix.
    """

    prefill: float
    copy: float
    group: float
    hold: float


@compiled
def choose_prefixes(nodes: Nodes, prices: Prices) -> Flags:
    """Return which nodes' prefixes to compute so that the whole costs least.

    A chosen node pays group + hold x depth, copies what the nearest chosen node above has
    and computes the rest; a prompt computes what its nearest chosen node does not have.

    Source: the exact form of "enlarging the first level" (Zheng et al., BatchLLM), with
    nested prefixes allowed and a price on copies.
    """
    n = len(nodes.depth)
    value, slope = np.zeros(n, np.float64), np.zeros(n, np.float64)
    threshold = np.zeros(n, np.float64)
    head, following = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    drop = np.zeros(n, np.float64)
    chosen_slope = prices.prefill - prices.copy
    for v in range(n):
        depth = max(nodes.depth[v], 0)
        at = 1.0 * depth
        # Costs relative to computing every prompt whole; children have added theirs.
        value[v] -= prices.prefill * at * nodes.rows[v]
        slope[v] += prices.prefill * nodes.rows[v]
        up = nodes.parent[v]
        if up < 0:
            break
        here = 1.0 * max(nodes.depth[up], 0)
        fixed = prices.group + prices.hold * at
        # Left of `at` the cost grows by `slope`, that of computing v by `chosen_slope`.
        gap = -(prices.copy * at + fixed)
        place, steep, level = at, slope[v], value[v]
        node, before = head[v], -1
        if depth > 0:
            threshold[v] = -1.0
            while True:
                stop = threshold[node] if node >= 0 else 0.0
                gain = (steep - chosen_slope) * (place - stop)
                if gap + gain > 0.0:
                    threshold[v] = place + gap / (steep - chosen_slope)
                    break
                gap += gain
                place = stop
                if node < 0:
                    break
                steep -= drop[node]
                before = node
                node = following[node]
        if threshold[v] > here:
            # Computed whatever its parent decides.
            level = value[v] + prices.prefill * (at - here) + prices.copy * here + fixed
            _add(up, level, chosen_slope, -1, value, slope, head, following, threshold)
            continue
        if threshold[v] > 0.0:
            drop[v] = steep - chosen_slope
            following[v] = -1
            if before >= 0:
                following[before] = v
            else:
                head[v] = v
        # Move the right end to the parent's depth.
        place, steep, level = at, slope[v], value[v]
        node = head[v]
        while node >= 0 and threshold[node] >= here:
            level += steep * (place - threshold[node])
            place = threshold[node]
            steep -= drop[node]
            node = following[node]
        level += steep * (place - here)
        _add(up, level, steep, node, value, slope, head, following, threshold)
    chosen = np.zeros(n, np.bool_)
    base = np.zeros(n, np.int64)
    for v in range(n - 1, -1, -1):
        up = nodes.parent[v]
        if up >= 0:
            base[v] = base[up]
            chosen[v] = base[up] < threshold[v]
        if chosen[v]:
            base[v] = nodes.depth[v]
    return chosen


@compiled
def _add(
    up: int,
    level: float,
    steep: float,
    points: int,
    value: Reals,
    slope: Reals,
    head: Longs,
    following: Longs,
    threshold: Reals,
) -> None:
    """Add a child's function to its parent's: merge the two lists, longest first."""
    value[up] += level
    slope[up] += steep
    left, right, tail = head[up], points, -1
    while left >= 0 and right >= 0:
        if threshold[left] >= threshold[right]:
            node = left
            left = following[left]
        else:
            node = right
            right = following[right]
        if tail >= 0:
            following[tail] = node
        else:
            head[up] = node
        tail = node
    rest = left if left >= 0 else right
    if tail >= 0:
        following[tail] = rest
    else:
        head[up] = rest


@compiled
def enlarged_saving(nodes: Nodes) -> int:
    """Tokens that the paper's post-order rule saves with one level of groups.

    For a child c of a node and an inner child g of c: with
    gain = (leaves(g) - 1) x tokens(g) - tokens(c) > 0, g takes a copy of c's tokens and
    moves up beside c. A child that keeps a single child merges with it.

    Source: Zheng et al., BatchLLM; rule as in the authors' prototype, leaf counts stored.
    """
    n = len(nodes.depth)
    tokens, leaves, rows = np.zeros(n, np.int64), nodes.leaves.copy(), nodes.rows.copy()
    child, sibling = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    for v in range(n - 1):
        up = nodes.parent[v]
        tokens[v] = max(nodes.depth[v], 0) - max(nodes.depth[up], 0)
        sibling[v] = child[up]
        child[up] = v
    saving = 0
    for v in range(n):
        kept, c = -1, child[v]
        while c >= 0:
            next_c = sibling[c]
            stay, g = -1, child[c]
            inner_left = 0
            while g >= 0:
                next_g = sibling[g]
                if (leaves[g] - 1) * tokens[g] > tokens[c]:
                    tokens[g] += tokens[c]
                    leaves[c] -= leaves[g]
                    sibling[g] = kept
                    kept = g
                else:
                    sibling[g] = stay
                    stay = g
                    inner_left += 1
                g = next_g
            child[c] = stay
            if inner_left == 1 and rows[c] == 0:
                tokens[stay] += tokens[c]
                sibling[stay] = kept
                kept = stay
            elif leaves[c] > 1:
                sibling[c] = kept
                kept = c
            elif leaves[c] == 1:
                rows[v] += 1
            c = next_c
        child[v] = kept
    group = child[n - 1]
    while group >= 0:
        saving += (leaves[group] - 1) * tokens[group]
        group = sibling[group]
    return saving


@compiled
def nearest_depth(nodes: Nodes, chosen: Flags) -> Longs:
    """Tokens of the nearest chosen prefix at or above each node; 0 where there is none."""
    n = len(nodes.depth)
    base = np.zeros(n, np.int64)
    for v in range(n - 1, -1, -1):
        if chosen[v]:
            base[v] = nodes.depth[v]
        elif nodes.parent[v] >= 0:
            base[v] = base[nodes.parent[v]]
    return base

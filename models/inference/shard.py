"""Dividing a job among workers: whole trees of groups, split only where one is too large."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.inference.cost import CostModel
from models.inference.enlarge import Trees
from models.inference.order import Loads, group_seconds, row_seconds, subtree_sums

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Division:
    """What runs together.

    Attributes:
        group_shard: Shard of each group, shape (n_groups,).
        row_shard: Shard of each position, shape (n_positions,).
        split_tokens: Prompt tokens that are computed once more because trees were split.
    """

    group_shard: Column
    row_shard: Column
    split_tokens: int


def divide(trees: Trees, loads: Loads, cost: CostModel, workers: int, pieces: int = 1) -> Division:
    """Give each shard whole trees, the longest first to the least loaded shard.

    There are `pieces` shards per worker: who is done takes one that nobody has begun; more
    pieces split no more trees. A tree with more than 1 / (4 x workers) of the work is split:
    large subtrees stand on their own, and what is left of it gets its prefix on each worker that
    runs a part. Splits change `trees`.

    Source: longest processing time first (Graham 1969, "Bounds on Multiprocessing Timing
    Anomalies").
    """
    if workers * pieces == 1:
        zeros = np.zeros(len(trees.group), np.int64)
        return Division(np.zeros(len(trees.depth), np.int64), zeros, 0)
    seconds = row_seconds(trees, loads, cost)
    total = float(seconds.sum() + group_seconds(trees, cost).sum())
    split_tokens = _split(trees, seconds, cost, total / (4 * workers))
    root = _roots(trees)
    weight = _subtree_seconds(trees, seconds, cost)
    lone = np.flatnonzero(trees.group < 0)
    tops = np.flatnonzero(trees.parent < 0)
    unit_s = np.concatenate([weight[tops], seconds[lone]])
    worker = np.empty(len(unit_s), np.int64)
    heap = [(0.0, shard) for shard in range(workers * pieces)]
    for unit in np.argsort(-unit_s, kind="stable").tolist():
        load_s, shard = heap[0]
        worker[unit] = shard
        heapq.heapreplace(heap, (load_s + float(unit_s[unit]), shard))
    of_root = np.full(len(trees.depth), -1, np.int64)
    of_root[tops] = worker[: len(tops)]
    group_shard = of_root[root]
    row_shard = np.append(group_shard, -1)[trees.group]
    row_shard[lone] = worker[len(tops) :]
    return Division(group_shard, row_shard, split_tokens)


def _subtree_seconds(
    trees: Trees, seconds: NDArray[np.float64], cost: CostModel
) -> NDArray[np.float64]:
    member = trees.group >= 0
    own = np.bincount(trees.group[member], seconds[member], minlength=len(trees.depth))
    return subtree_sums(trees, own + group_seconds(trees, cost))


def _roots(trees: Trees) -> Column:
    """Topmost group above each group."""
    root = np.arange(len(trees.depth))
    above = np.where(trees.parent >= 0, trees.parent, root)
    while True:
        further = above[above]
        if np.array_equal(further, above):
            return above
        above = further


def _split(trees: Trees, seconds: NDArray[np.float64], cost: CostModel, limit_s: float) -> int:
    """Split trees above the limit, in place; return the tokens that this computes again."""
    price = 0
    weight = _subtree_seconds(trees, seconds, cost)
    queue = [int(g) for g in np.flatnonzero((trees.parent < 0) & (weight > limit_s))]
    while queue:
        top = queue.pop()
        children = np.flatnonzero(trees.parent == top)
        large = children[weight[children] > limit_s]
        rows = np.flatnonzero(trees.group == top)
        queue += large.tolist()
        # Somebody has to stay, or nobody would use the prefix.
        stays = len(large) == len(children) and not len(rows)
        for child in large[int(stays) :].tolist():
            # On its own it computes what it would have copied.
            trees.parent[child] = -1
            price += int(trees.depth[top])
            weight[child] += trees.depth[top] * (cost.prefill_s - cost.copy_s)
        children = children[weight[children] <= limit_s]
        if stays:
            continue
        parts_s = np.concatenate([weight[children], seconds[rows]])
        prefix_s = float(trees.depth[top] * cost.prefill_s + cost.group_s)
        # A part must be worth the prefix that it costs.
        size_s = max(limit_s - prefix_s, limit_s / 2, prefix_s)
        piece = ((parts_s.cumsum() - parts_s / 2) // size_s).astype(np.int64)
        for number in np.unique(piece)[1:].tolist():
            clone = len(trees.depth)
            mine = np.flatnonzero(piece == number)
            trees.parent[children[mine[mine < len(children)]]] = clone
            members = rows[mine[mine >= len(children)] - len(children)]
            trees.group[members] = clone
            low = members[0] if len(members) else trees.low[children[mine[0]]]
            trees.depth = np.append(trees.depth, trees.depth[top])
            trees.parent = np.append(trees.parent, -1)
            trees.low = np.append(trees.low, low)
            price += int(trees.depth[top])
    return price

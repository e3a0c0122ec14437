"""Groups out of chosen nodes: what fits the KV budget, and the order in which they run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.inference.compiled.base import Flags, Longs, Reals, compiled
from models.inference.compiled.tree import Nodes


class Forest(NamedTuple):
    """Groups with parents before children.

    Attributes:
        depth: Tokens of each group's prefix, shape (n_groups,).
        parent: Group that the prefix copies from, or -1.
        low: A sorted position whose prompt begins with the prefix.
        group: Group of each sorted position, or -1, shape (n_prompts,).
    """

    depth: Longs
    parent: Longs
    low: Longs
    group: Longs


@compiled
def gather_groups(nodes: Nodes, chosen: Flags) -> Forest:
    """Turn chosen nodes into groups; a prompt belongs to the deepest one above it."""
    n = len(nodes.depth)
    n_groups = 0
    for node in range(n):
        n_groups += chosen[node]
    forest = Forest(
        np.empty(n_groups, np.int64),
        np.empty(n_groups, np.int64),
        np.empty(n_groups, np.int64),
        np.empty(len(nodes.leaf_parent), np.int64),
    )
    nearest = np.full(n, -1, np.int64)
    made = 0
    for node in range(n - 1, -1, -1):
        up = nodes.parent[node]
        above = nearest[up] if up >= 0 else -1
        if chosen[node]:
            forest.depth[made], forest.parent[made] = nodes.depth[node], above
            forest.low[made] = nodes.low[node]
            nearest[node] = made
            made += 1
        else:
            nearest[node] = above
    for i in range(len(nodes.leaf_parent)):
        forest.group[i] = nearest[nodes.leaf_parent[i]]
    return forest


@compiled
def fit_budget(forest: Forest, whole: Longs, copy_share: float, budget: int) -> tuple[Longs, Longs]:
    """Give up prefixes until every chain of prefixes fits with its largest row.

    A prefix stays resident while those that copy from it wait, so a chain needs the sum of
    its prefixes. One that does not fit is computed on its own, without a parent, or not at
    all, whichever computes fewer tokens.

    Args:
        forest: The groups.
        whole: KV tokens of each sorted position: prompt and predicted output.
        copy_share: Price of copying a token over the price of computing it.
        budget: KV tokens that may live; no row alone needs more.

    Returns:
        New parents, and the group that stands for each: itself, one above it, or -1.
    """
    n = len(forest.depth)
    largest, uses = np.zeros(n, np.int64), np.zeros(n, np.int64)
    for i in range(len(whole)):
        group = forest.group[i]
        if group >= 0:
            largest[group] = max(largest[group], whole[i])
            uses[group] += 1
    for group in range(n - 1, -1, -1):
        above = forest.parent[group]
        if above >= 0:
            largest[above] = max(largest[above], largest[group])
            uses[above] += 1
    parent, chain = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    stands_for, is_fit = np.arange(n), True
    for group in range(n):
        above = forest.parent[group]
        if above >= 0:
            above = stands_for[above]
        depth = forest.depth[group]
        base = forest.depth[above] if above >= 0 else 0
        held = chain[above] if above >= 0 else 0
        parent[group] = above
        chain[group] = held + depth
        if held + largest[group] <= budget:
            continue
        is_fit = False
        if (1.0 - copy_share) * base < (uses[group] - 1) * (depth - base):
            parent[group] = -1
            chain[group] = depth
        else:
            stands_for[group] = above
    if is_fit:
        return parent, stands_for
    # What lost its sharers is no longer worth a prefix.
    uses[:] = 0
    for i in range(len(whole)):
        if forest.group[i] >= 0 and stands_for[forest.group[i]] >= 0:
            uses[stands_for[forest.group[i]]] += 1
    for group in range(n):
        if stands_for[group] == group and parent[group] >= 0:
            uses[parent[group]] += 1
    for group in range(n - 1, -1, -1):
        # A single user takes its place with the parent; without any it leaves that, too.
        if stands_for[group] == group and uses[group] == 0 and parent[group] >= 0:
            uses[parent[group]] -= 1
    for group in range(n):
        above = parent[group] if stands_for[group] == group else stands_for[group]
        if above >= 0:
            above = stands_for[above]
        if stands_for[group] != group or uses[group] < 2:
            stands_for[group] = above
        parent[group] = above
    return parent, stands_for


@compiled
def walk(parent: Longs, turn: Longs) -> Longs:
    """Return the place of each group and lone row when trees run depth first.

    Args:
        parent: Parent of each item, a group or a lone row, or -1, shape (n_items,).
        turn: Items in the order in which roots, and siblings, take their turn.

    Returns:
        Place of each item, shape (n_items,).
    """
    n = len(parent)
    child, sibling = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
    stack, place = np.empty(n, np.int64), np.empty(n, np.int64)
    top = -1
    for i in range(n - 1, -1, -1):
        item = turn[i]
        if parent[item] >= 0:
            sibling[item] = child[parent[item]]
            child[parent[item]] = item
        else:
            top += 1
            stack[top] = item
    now = 0
    while top >= 0:
        item = stack[top]
        top -= 1
        place[item] = now
        now += 1
        # Siblings in order: the stack takes them last first, so write them, then turn.
        below, begin = child[item], top + 1
        while below >= 0:
            top += 1
            stack[top] = below
            below = sibling[below]
        left, right = begin, top
        while left < right:
            stack[left], stack[right] = stack[right], stack[left]
            left += 1
            right -= 1
    return place


@compiled
def add_up(parent: Longs, deepest_first: Longs, total: Reals) -> None:
    """Add each group's total to its parent's, children before parents."""
    for group in deepest_first:
        if parent[group] >= 0:
            total[parent[group]] += total[group]

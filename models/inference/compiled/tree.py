"""The LCP-interval tree of sorted prompts: one node per prefix at which prompts part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from models.inference.compiled.base import Ids, Longs, compiled


class Nodes(NamedTuple):
    """Nodes in post-order: a child comes before its parent, the root is last.

    Attributes:
        depth: Tokens from the root, shape (n_nodes,); 0 at a tenant's root and, where there
            are several tenants, -1 at the node above them.
        parent: Node above, -1 at the root.
        low, high: Interval of sorted positions below the node.
        rows: Prompts that hang on the node itself.
        leaves: Prompts in its subtree.
        leaf_parent: Node that each sorted position hangs on, shape (n_prompts,).
    """

    depth: Longs
    parent: Longs
    low: Longs
    high: Longs
    rows: Longs
    leaves: Longs
    leaf_parent: Longs


@compiled
def build_tree(lcp: Longs) -> Nodes:
    """Build the tree from the common prefixes of neighbours; `lcp[0]` is not read."""
    n = len(lcp)
    depth, low, high = (
        np.empty(n + 1, np.int64),
        np.empty(n + 1, np.int64),
        np.zeros(n + 1, np.int64),
    )
    parent = np.full(n + 1, -1, np.int64)
    owner, leaf_parent = np.zeros(n, np.int64), np.zeros(n, np.int64)
    stack, rank = np.empty(n + 1, np.int64), np.empty(n + 1, np.int64)
    least = np.int64(0)
    for i in range(1, n):
        least = min(least, lcp[i])
    depth[0], low[0] = least, 0
    made, closed, top = 1, 0, 0
    stack[0] = 0
    for i in range(1, n):
        shared, begin, orphan = lcp[i], i - 1, -1
        while depth[stack[top]] > shared:
            node = stack[top]
            top -= 1
            high[node] = i
            rank[node] = closed
            closed += 1
            begin = low[node]
            if depth[stack[top]] >= shared:
                parent[node] = stack[top]
                orphan = -1
            else:
                orphan = node
        if depth[stack[top]] < shared:
            depth[made], low[made] = shared, begin
            if orphan >= 0:
                parent[orphan] = made
            top += 1
            stack[top] = made
            made += 1
        owner[i] = stack[top]
    while top >= 0:
        node = stack[top]
        high[node] = n
        rank[node] = closed
        closed += 1
        top -= 1
        if top >= 0:
            parent[node] = stack[top]
    nodes = Nodes(
        np.empty(made, np.int64),
        np.full(made, -1, np.int64),
        np.empty(made, np.int64),
        np.empty(made, np.int64),
        np.zeros(made, np.int64),
        np.zeros(made, np.int64),
        leaf_parent,
    )
    for node in range(made):
        at = rank[node]
        nodes.depth[at], nodes.low[at], nodes.high[at] = depth[node], low[node], high[node]
        nodes.leaves[at] = high[node] - low[node]
        if parent[node] >= 0:
            nodes.parent[at] = rank[parent[node]]
    for i in range(n):
        # The deeper of the two places where a prompt parts from a neighbour.
        before = lcp[i] if i > 0 else least - 1
        after = lcp[i + 1] if i + 1 < n else least - 1
        node = rank[owner[i]] if before >= after else rank[owner[i + 1]]
        leaf_parent[i] = node
        nodes.rows[node] += 1
    return nodes


@compiled
def distinct_tokens(ids: Ids, offsets: Longs, order: Longs, lcp: Longs, nodes: Nodes) -> int:
    """Tokens of the trie over whole prompts, their last tokens included.

    Every prompt ends one token below a place of the tree. That token is a new one unless an
    equal prompt or the way to a longer one has it already.
    """
    n = len(order)
    total = 0
    for i in range(n):
        total += offsets[order[i] + 1] - offsets[order[i]] - 1
        if i > 0:
            total -= max(lcp[i], 0)
    pointer = nodes.low.copy()
    for i in range(n):
        row, node = order[i], nodes.leaf_parent[i]
        length = offsets[row + 1] - offsets[row] - 1
        last = ids[offsets[row + 1] - 1]
        if length > nodes.depth[node] or i == nodes.low[node]:
            total += 1
            continue
        before = order[i - 1]
        if ids[offsets[before + 1] - 1] != last:
            total += 1
    # Children of a node follow its ended prompts, both in the order of their tokens.
    owner = np.full(n, -1, np.int64)
    _owners(lcp, nodes, owner)
    for i in range(1, n):
        node = owner[i]
        at = nodes.depth[node]
        row = order[i]
        if at < 0 or offsets[row + 1] - offsets[row] - 1 == at:
            continue
        token = ids[offsets[row] + at]
        while pointer[node] < i:
            ended = order[pointer[node]]
            if offsets[ended + 1] - offsets[ended] - 1 != at:
                break
            last = ids[offsets[ended + 1] - 1]
            if last > token:
                break
            if last == token:
                total -= 1
                while pointer[node] < i:
                    twin = order[pointer[node]]
                    if (
                        offsets[twin + 1] - offsets[twin] - 1 != at
                        or ids[offsets[twin + 1] - 1] != last
                    ):
                        break
                    pointer[node] += 1
                break
            pointer[node] += 1
    return total


@compiled
def _owners(lcp: Longs, nodes: Nodes, owner: Longs) -> None:
    """Node of each boundary between neighbours: where the two part."""
    n = len(lcp)
    n_nodes = len(nodes.depth)
    # A boundary i belongs to the node with depth lcp[i] that spans it: walk a stack of nodes
    # opened by their low ends, parents first (reverse post-order visits parents first).
    first = np.full(n + 1, -1, np.int64)
    after = np.full(n_nodes, -1, np.int64)
    for node in range(n_nodes):  # children come first, so a parent is put in front of them
        after[node] = first[nodes.low[node]]
        first[nodes.low[node]] = node
    stack = np.empty(n_nodes + 1, np.int64)
    top = -1
    for i in range(n):
        while top >= 0 and nodes.high[stack[top]] <= i:
            top -= 1
        if i > 0:
            owner[i] = stack[top]
        node = first[i]
        while node >= 0:
            top += 1
            stack[top] = node
            node = after[node]

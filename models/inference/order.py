"""The order of groups and rows on one worker, and what playing it costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.inference.config import OrderName
from models.inference.cost import CostModel
from models.inference.enlarge import Trees

Column = NDArray[np.int64]


@dataclass(frozen=True)
class Loads:
    """Work of each sorted position, shape (n_positions,)."""

    tokens: Column
    output: Column
    forks: Column


@dataclass(frozen=True)
class Sequence:
    """Groups and rows of one worker in running order; indices count from its first group.

    Attributes:
        prefix, parent, low, n_rows: Per group; without a prefix 0, -1 and -1.
        position: Sorted position of each row.
    """

    prefix: Column
    parent: Column
    low: Column
    n_rows: Column
    position: Column


@dataclass(frozen=True)
class Played:
    """What playing a sequence gave: steps, most KV tokens alive, CPU seconds."""

    steps: int
    peak_tokens: int
    seconds: float


def subtree_sums(trees: Trees, own: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of `own` over each group's subtree, shape (n_groups,)."""
    from models.inference.compiled.forest import add_up

    total = own.astype(np.float64)
    add_up(trees.parent, np.argsort(-trees.depth, kind="stable"), total)
    return total


def group_seconds(trees: Trees, cost: CostModel) -> NDArray[np.float64]:
    """CPU seconds of each prefix: what it computes and copies."""
    copied = trees.copied
    return (trees.depth - copied) * cost.prefill_s + copied * cost.copy_s + cost.group_s


def row_seconds(trees: Trees, loads: Loads, cost: CostModel) -> NDArray[np.float64]:
    """CPU seconds of each row: its own prompt tokens and its outputs."""
    emitted = loads.output * loads.forks
    computed = loads.tokens - trees.shared
    decoded = emitted - loads.forks  # the first token comes with the prompt's last
    seconds = computed * cost.prefill_s + decoded * cost.decode_s + emitted * cost.sample_s
    return np.asarray(seconds, np.float64)


def sequence(
    trees: Trees, groups: Column, positions: Column, loads: Loads, name: OrderName, cost: CostModel
) -> Sequence:
    """Order some trees (whole ones) depth first and the rows along with them.

    Args:
        trees: All groups.
        groups: Those to order, with all their ancestors, ascending.
        positions: Rows to order: the members of `groups`, and lone ones; ascending.
        loads: Work of all positions.
        name: `prefix`: as sorted; `ratio`: decoded over computed prompt tokens of a subtree,
            descending; `longest`: predicted seconds of a subtree, descending.
        cost: Prices for `longest`.
    """
    from models.inference.compiled.forest import walk

    is_lone = trees.group[positions] < 0
    lone = positions[is_lone]
    n_groups, n_items = len(groups), len(groups) + len(lone)
    number = np.full(len(trees.depth) + 1, -1)
    number[groups] = np.arange(n_groups)
    parent = np.full(n_items, -1, np.int64)
    parent[:n_groups] = number[trees.parent[groups]]
    low = np.concatenate([trees.low[groups], lone])
    # At one position: the shortest prefix first, then the row itself.
    by_prefix = np.lexsort((np.append(trees.depth[groups], np.full(len(lone), 2**40)), low))
    turn = by_prefix
    if name != "prefix":
        key = _keys(trees, groups, lone, loads, name, cost)
        turn = by_prefix[np.argsort(-key[by_prefix], kind="stable")]
    place = walk(parent, turn)
    # Lone rows that follow each other become one group without a prefix.
    at = np.empty(n_items, np.int64)
    at[place] = np.arange(n_items)
    alone = at >= n_groups
    begins = ~alone
    begins[1:] |= ~alone[:-1]
    begins[:1] = True
    index = np.cumsum(begins) - 1
    head = at[begins]
    is_group = head < n_groups
    real = groups[head[is_group]]
    prefix = np.zeros(len(head), np.int64)
    prefix[is_group] = trees.depth[real]
    prefix_low, above = np.full(len(head), -1, np.int64), np.full(len(head), -1, np.int64)
    prefix_low[is_group] = trees.low[real]
    up = parent[head[is_group]]
    above[is_group] = np.where(up >= 0, index[place[up]], -1)
    item = number[trees.group[positions]]
    item[is_lone] = n_groups + np.arange(len(lone))
    row_place = place[item]
    rows = np.arange(len(positions))
    if name != "prefix":
        rows = np.argsort(-loads.output[positions], kind="stable")
    rows = rows[np.argsort(row_place[rows], kind="stable")]
    n_rows = np.bincount(index[row_place], minlength=len(head))
    return Sequence(prefix, above, prefix_low, n_rows.astype(np.int64), positions[rows])


def _keys(
    trees: Trees, groups: Column, lone: Column, loads: Loads, name: OrderName, cost: CostModel
) -> NDArray[np.float64]:
    """Rank of each item (groups, then lone rows): higher goes first."""
    member = np.flatnonzero(trees.group >= 0)
    of = trees.group[member]

    def summed(per_row: NDArray[np.float64], per_group: NDArray[np.float64]) -> NDArray[np.float64]:
        own = per_group + np.bincount(of, per_row[member], minlength=len(trees.depth))
        return np.concatenate([subtree_sums(trees, own)[groups], per_row[lone]])

    if name == "longest":
        return summed(row_seconds(trees, loads, cost), group_seconds(trees, cost))
    own = (loads.tokens - trees.shared).astype(np.float64)
    computed = summed(own, (trees.depth - trees.copied).astype(np.float64))
    emitted = (loads.output * loads.forks).astype(np.float64)
    decoded = summed(emitted, np.zeros(len(trees.depth), np.float64))
    return np.asarray(decoded / np.maximum(computed, 1), np.float64)


def play(
    line: Sequence,
    loads: Loads,
    cost: CostModel,
    step_tokens: int,
    max_rows: int,
    budget_tokens: int,
) -> Played:
    """Simulate the engine's steps over a sequence; see `compiled.steps.play_steps`."""
    from models.inference.compiled.steps import play_steps

    first = np.concatenate([np.zeros(1, np.int64), line.n_rows.cumsum()])
    shared = np.repeat(line.prefix, line.n_rows)
    suffix = loads.tokens[line.position] - shared
    output, forks = loads.output[line.position], loads.forks[line.position]
    steps, peak = play_steps(
        *(line.prefix, line.parent, first, suffix, output, forks),
        *(step_tokens, max_rows, budget_tokens),
    )
    if steps < 0:
        raise AssertionError("a chain of prefixes was planned that the KV budget cannot hold")
    copied = np.append(line.prefix, 0)[line.parent]  # the last place answers -1
    emitted = int((output * forks).sum())
    seconds = (
        steps * cost.step_s
        + (int((line.prefix - copied).sum()) + int(suffix.sum())) * cost.prefill_s
        + (emitted - int(forks.sum())) * cost.decode_s
        + emitted * cost.sample_s
        + int(copied.sum()) * cost.copy_s
        + int((line.prefix > 0).sum()) * cost.group_s
    )
    return Played(int(steps), int(peak), float(seconds))

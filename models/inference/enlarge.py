"""From a prefix tree to groups: the exact choice under prices and a KV budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.inference.cost import CostModel

if TYPE_CHECKING:
    from models.inference.compiled.tree import Nodes

Column = NDArray[np.int64]


@dataclass
class Trees:
    """Groups as trees, not yet in an order. Sharding splits them in place.

    Attributes:
        depth: Prefix tokens, shape (n_groups,).
        parent: Group above, or -1; it has fewer tokens.
        low: A sorted position whose prompt begins with the prefix.
        group: Group of each sorted position, -1 for none, shape (n_positions,).
    """

    depth: Column
    parent: Column
    low: Column
    group: Column

    @property
    def copied(self) -> Column:
        """Tokens that each group copies from its parent."""
        return np.append(self.depth, 0)[self.parent]  # the last place answers -1

    @property
    def shared(self) -> Column:
        """Prompt tokens that each position finds in its group."""
        return np.append(self.depth, 0)[self.group]


def choose_groups(nodes: Nodes, whole: Column, cost: CostModel, budget_tokens: int) -> Trees:
    """Choose the prefixes to compute: cheapest by `cost`, then cut to the KV budget.

    Args:
        nodes: Prefix tree of the sorted positions.
        whole: KV tokens of each position (prompt and output), shape (n_positions,); none
            exceeds the budget.
        cost: Prices; a copy that costs as much as computing makes it one level.
        budget_tokens: KV tokens of one worker.
    """
    from models.inference.compiled.choose import Prices, choose_prefixes
    from models.inference.compiled.forest import fit_budget, gather_groups

    prices = Prices(cost.prefill_s, min(cost.copy_s, cost.prefill_s), cost.group_s, cost.hold_s)
    forest = gather_groups(nodes, choose_prefixes(nodes, prices))
    if not len(forest.depth):
        return Trees(forest.depth, forest.parent, forest.low, forest.group)
    share = prices.copy / prices.prefill if prices.prefill > 0 else 1.0
    parent, stands_for = fit_budget(forest, whole, share, budget_tokens)
    stays = stands_for == np.arange(len(stands_for))
    # One place more, so that -1 (no group) maps to itself.
    number = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1)
    stands_for = np.append(stands_for, -1)
    return Trees(
        depth=forest.depth[stays],
        parent=number[stands_for[parent[stays]]],
        low=forest.low[stays],
        group=number[stands_for[forest.group]],
    )

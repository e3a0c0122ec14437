"""Which prompts share which tokens: exact order, common prefixes, and what sharing saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.inference.token_table import MAX_ID, TokenTable

if TYPE_CHECKING:
    from models.inference.compiled.tree import Nodes


@dataclass(frozen=True)
class PrefixStats:
    """Prompt tokens that have to be computed, by what is shared.

    Attributes:
        logical: Nothing: all prompt tokens.
        optimal: Everything: tokens of the trie over all prompts (per tenant).
        single_level: One prefix per prompt, chosen best; duplicates keep their last token.
        enlarged: One prefix per prompt, chosen by the paper's post-order rule.
        planned: By the plan: several levels, duplicates of greedy prompts once; None
            without a plan.
    """

    logical: int
    optimal: int
    single_level: int
    enlarged: int
    planned: int | None = None

    def saving(self, tokens: int) -> float:
        """Share of prompt tokens that need not be computed, in [0, 1)."""
        return 1 - tokens / self.logical if self.logical else 0.0

    @property
    def optimal_share(self) -> float:
        """Saving of the trie optimum."""
        return self.saving(self.optimal)

    @property
    def planned_share(self) -> float | None:
        """Saving of the plan."""
        return None if self.planned is None else self.saving(self.planned)


@dataclass(frozen=True)
class SortedPrompts:
    """Prompts in lexicographic order per tenant.

    Attributes:
        order: Prompt at each position, shape (n_prompts,).
        lcp: Tokens shared with the position before, last tokens of prompts not counted; -1
            where a tenant begins, shape (n_prompts,).
    """

    order: NDArray[np.int64]
    lcp: NDArray[np.int64]


def sort_prompts(
    prompts: TokenTable,
    tenants: NDArray[np.int64] | None = None,
    kinds: NDArray[np.int64] | None = None,
    todo: NDArray[np.int64] | None = None,
) -> SortedPrompts:
    """Sort prompts exactly and measure what neighbours share; equal prompts by kind, then row.

    Args:
        prompts: The prompts, none of them empty.
        tenants: Tenant of each prompt, shape (n_prompts,); None: all the same.
        kinds: Prompts of one kind end up side by side among equal ones.
        todo: Prompts to sort, ascending; None: all.

    Raises:
        DataError: A prompt is empty, or an id is too large.
    """
    from models.inference.compiled.sort import sort_prompts as sort_compiled

    n = len(prompts)
    if n and prompts.lengths.min() < 1:
        raise DataError(
            f"prompt {int(prompts.lengths.argmin())} is empty; planning needs prompts of at "
            "least one token, so let the reader turn empty ones into row errors"
        )
    if prompts.ids.dtype.itemsize > 2 and len(prompts.ids) and prompts.ids.max() > MAX_ID:
        raise DataError(
            f"token id {int(prompts.ids.max())} is above {MAX_ID}, the largest that prompts "
            "can be sorted by; check the tokenizer"
        )
    tenants = np.zeros(n, np.int64) if tenants is None else tenants.astype(np.int64)
    todo = np.arange(n) if todo is None else todo.astype(np.int64)
    columns = (tenants[todo],) if kinds is None else (kinds[todo], tenants[todo])
    order = todo[np.lexsort(columns)]
    lcp = np.full(len(order), -1, np.int64)
    sort_compiled(_plain(prompts.ids), prompts.offsets, tenants, order, lcp)
    return SortedPrompts(order, lcp)


def drop_repeats(
    prompts: TokenTable,
    found: SortedPrompts,
    tenants: NDArray[np.int64],
    kinds: NDArray[np.int64],
) -> tuple[SortedPrompts, NDArray[np.int64]]:
    """Leave out prompts whose result is another's: same ids, tenant and kind >= 0.

    Returns:
        The remaining positions, and for each prompt the one that runs for it: itself, as a
        rule, -1 if it was not sorted. Shape (n_prompts,).
    """
    from models.inference.compiled.sort import repeats_before

    source = repeats_before(
        *(_plain(prompts.ids), prompts.offsets, tenants.astype(np.int64)),
        *(kinds.astype(np.int64), found.order, found.lcp),
    )
    runs_as = np.full(len(prompts), -1, np.int64)
    runs_as[found.order] = found.order[source]
    kept = source == np.arange(len(source))
    # A repeat equals its predecessor, so what follows shares as much with that one.
    return SortedPrompts(found.order[kept], found.lcp[kept]), runs_as


def prefix_stats(
    prompts: TokenTable, found: SortedPrompts, nodes: Nodes, planned: int | None = None
) -> PrefixStats:
    """Count tokens by what is shared; `nodes` is the tree of all positions in `found`."""
    from models.inference.compiled.choose import Prices, choose_prefixes, enlarged_saving
    from models.inference.compiled.tree import distinct_tokens

    logical = int(prompts.lengths[found.order].sum())
    if not len(found.order):
        return PrefixStats(0, 0, 0, 0, planned)
    chosen = choose_prefixes(nodes, Prices(1.0, 1.0, 0.0, 0.0))
    base = reused_tokens(nodes, chosen)
    single = logical + int(nodes.depth[chosen].sum()) - int((base * nodes.rows).sum())
    optimal = distinct_tokens(_plain(prompts.ids), prompts.offsets, found.order, found.lcp, nodes)
    return PrefixStats(
        logical, int(optimal), single, logical - int(enlarged_saving(nodes)), planned
    )


def reused_tokens(nodes: Nodes, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the depth of the nearest chosen node at or above each node, 0 if none."""
    from models.inference.compiled.choose import nearest_depth

    return nearest_depth(nodes, chosen)


def _plain(ids: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Return ids as compiled code takes them: read-only always, so it is compiled once."""
    plain = np.asarray(ids).view(np.ndarray)
    plain.flags.writeable = False
    return plain

"""Order, common prefixes, counts and the choice of prefixes against brute force."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.inference.compiled.choose import Prices, choose_prefixes, enlarged_saving
from models.inference.compiled.tree import Nodes, build_tree
from models.inference.prefix import drop_repeats, prefix_stats, sort_prompts
from models.inference.token_table import TokenTable

OPTIONS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
stems = st.lists(st.lists(st.integers(0, 2), max_size=8), min_size=1, max_size=3)
prompt_sets = stems.flatmap(
    lambda known: st.lists(
        st.tuples(st.sampled_from(known), st.lists(st.integers(0, 2), min_size=1, max_size=6)).map(
            lambda parts: [*parts[0], *parts[1]]
        ),
        min_size=1,
        max_size=9,
    )
)


def trie_tokens(prompts):
    return len({tuple(p[:n]) for p in prompts for n in range(1, len(p) + 1)})


def cost_of(nodes: Nodes, chosen, prices: Prices) -> float:
    """What a choice costs relative to sharing nothing, written from the definition."""
    total, base = 0.0, {}
    for v in reversed(range(len(nodes.depth))):
        held = base.get(int(nodes.parent[v]), 0)
        if chosen[v]:
            depth = int(nodes.depth[v])
            total += prices.prefill * (depth - held) + prices.copy * held
            total += prices.group + prices.hold * depth
            held = depth
        base[v] = held
        total -= prices.prefill * held * int(nodes.rows[v])
    return total


def cheapest(nodes: Nodes, prices: Prices) -> float:
    choices = [[False, True] if depth > 0 else [False] for depth in nodes.depth]
    return min(cost_of(nodes, choice, prices) for choice in itertools.product(*choices))


@OPTIONS
@given(prompt_sets)
def test_order_is_lexicographic_without_last_tokens_and_neighbours_share_what_lcp_says(prompts):
    found = sort_prompts(TokenTable.from_lists(prompts))
    ordered = [prompts[i] for i in found.order]
    keys = [(p[:-1], p[-1], i) for p, i in zip(ordered, found.order, strict=True)]
    assert keys == sorted(keys)
    for before, after, shared in zip(ordered, ordered[1:], found.lcp[1:], strict=False):
        both = zip(before[:-1], after[:-1], strict=False)
        assert shared == len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], both)))


@OPTIONS
@given(prompt_sets)
def test_optimum_is_the_number_of_nodes_of_the_trie_over_whole_prompts(prompts):
    table = TokenTable.from_lists(prompts)
    found = sort_prompts(table)
    stats = prefix_stats(table, found, build_tree(found.lcp))
    assert stats.optimal == trie_tokens(prompts)
    assert stats.optimal <= stats.single_level <= stats.enlarged <= stats.logical


@OPTIONS
@given(
    prompt_sets,
    st.sampled_from(
        [
            Prices(1.0, 1.0, 0.0, 0.0),  # one level: nothing is copied
            Prices(1.0, 0.0, 0.0, 0.0),
            Prices(1.0, 0.1, 0.5, 0.05),
            Prices(1.0, 0.5, 2.0, 0.3),
            Prices(2.0, 1.0, 7.0, 0.0),
        ]
    ),
)
def test_chosen_prefixes_cost_as_little_as_the_best_of_all_choices(prompts, prices):
    nodes = build_tree(sort_prompts(TokenTable.from_lists(prompts)).lcp)
    chosen = choose_prefixes(nodes, prices)
    assert cost_of(nodes, chosen, prices) == pytest.approx(cheapest(nodes, prices), abs=1e-9)


@OPTIONS
@given(prompt_sets)
def test_free_copies_reach_the_trie_optimum_but_for_one_private_token_per_prompt(prompts):
    table = TokenTable.from_lists(prompts)
    nodes = build_tree(sort_prompts(table).lcp)
    prices = Prices(1.0, 0.0, 0.0, 0.0)
    saved = -cost_of(nodes, choose_prefixes(nodes, prices), prices)
    computed = sum(map(len, prompts)) - saved
    assert computed == trie_tokens([p[:-1] for p in prompts]) + len(prompts)


def test_the_papers_rule_moves_a_grandchild_up_when_its_gain_is_positive():
    # c = 4 tokens, 2 rows of its own; g = 3 tokens more, 3 rows: (3 - 1) * 3 > 4, so g moves.
    c = [9, 9, 9, 9]
    rows = [[*c, i, 0] for i in (1, 2)] + [[*c, 5, 5, 5, i, 0] for i in (1, 2, 3)]
    nodes = build_tree(sort_prompts(TokenTable.from_lists(rows)).lcp)
    # c: (2 - 1) * 4, g: (3 - 1) * 7
    assert enlarged_saving(nodes) == 4 + 14
    # Two tokens deep: (3 - 1) * 2 is not above 4, all five rows share c only.
    rows = [[*c, i, 0] for i in (1, 2)] + [[*c, 5, 5, i, 0] for i in (1, 2, 3)]
    nodes = build_tree(sort_prompts(TokenTable.from_lists(rows)).lcp)
    assert enlarged_saving(nodes) == (5 - 1) * 4


def test_the_papers_rule_is_not_the_best_single_level():
    # Each of two grandchildren looks too dear alone; together they free c of its members.
    c = [9] * 4
    rows = [[*c, g, g, i, 0] for g in (1, 2) for i in (1, 2, 3)]
    table = TokenTable.from_lists(rows)
    found = sort_prompts(table)
    stats = prefix_stats(table, found, build_tree(found.lcp))
    assert stats.logical - stats.enlarged == (6 - 1) * 4
    assert stats.logical - stats.single_level == 2 * (3 - 1) * 6


def test_tenants_share_nothing_and_only_prompts_of_one_kind_repeat_each_other():
    prompts = TokenTable.from_lists([[1, 2, 3]] * 6)
    tenants, kinds = np.array([0, 0, 0, 1, 1, 1]), np.array([5, 5, -1, 5, 7, 7])
    found = sort_prompts(prompts, tenants, kinds)
    assert sorted(found.lcp.tolist()) == [-1, -1, 2, 2, 2, 2]
    kept, runs_as = drop_repeats(prompts, found, tenants, kinds)
    assert runs_as.tolist() == [0, 0, 2, 3, 4, 4]
    assert sorted(kept.order.tolist()) == [0, 2, 3, 4]


def test_ids_at_the_edges_of_their_type_sort_like_numbers():
    prompts = TokenTable.from_lists([[65_535, 0, 1], [0, 0, 1], [65_535, 1], [0, 65_535, 1]])
    assert sort_prompts(prompts).order.tolist() == [1, 3, 2, 0]
    wide = TokenTable.from_lists([[2**21 - 2, 1, 1], [2**21 - 2, 0, 1], [0, 1]], "uint32")
    assert sort_prompts(wide).order.tolist() == [2, 1, 0]
    with pytest.raises(DataError, match="token id 2097151 is above 2097150"):
        sort_prompts(TokenTable.from_lists([[2**21 - 1, 1]], "uint32"))
    with pytest.raises(DataError, match="prompt 1 is empty"):
        sort_prompts(TokenTable.from_lists([[1], []]))


def test_a_chain_of_prompts_that_begin_each_other_takes_no_quadratic_time():
    def seconds(n: int) -> float:
        table = TokenTable(
            np.ones(n * (n + 1) // 2, np.uint16), np.cumsum(np.arange(n + 1)).astype(np.int64)
        )
        began = time.process_time()
        found = sort_prompts(table)
        nodes = build_tree(found.lcp)
        stats = prefix_stats(table, found, nodes)
        took = time.process_time() - began
        assert stats.optimal == n
        assert found.order.tolist() == list(range(n))
        return took

    seconds(10)
    # 4 times the rows are 16 times the tokens; a scan per row and level would be 64 times.
    assert seconds(4_000) < 30 * max(seconds(1_000), 0.01)

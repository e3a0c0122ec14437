"""Plans of random jobs pass the independent checker; planted faults do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import DataError, DatasetMissingError, DatasetUnreadableError
from models.inference import (
    BatchConfig,
    CostModel,
    KvBudget,
    KvBudgetError,
    RowLoads,
    TokenTable,
    plan_job,
    read_plan,
    verify_plan,
    write_plan,
)
from models.inference.planner import over_budget
from models.inference.workload import (
    PRESETS,
    WorkloadSettings,
    generate_workload,
    preset_workload,
)

AMPLE = KvBudget(10**12)


def made_up(seed: int, **changes):
    shape = {
        "n_prompts": 120,
        "prefix_tokens": (4, 60),
        "suffix_tokens": (1, 20),
        "output_tokens": (1, 40),
        "group_size": 20,
        "duplicates": 0.1,
        "beginnings": 0.1,
    } | changes
    return generate_workload(WorkloadSettings(**shape), seed)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    n_prompts=st.sampled_from([1, 2, 5, 30, 120]),
    vocabulary=st.sampled_from([3, 1_000]),
    spare=st.sampled_from([0, 3, 20, 1_000]),
    workers=st.sampled_from([1, 2, 5]),
    order=st.sampled_from(["auto", "prefix", "ratio", "longest"]),
    step_tokens=st.sampled_from([1, 7, 64, 256]),
    max_rows=st.sampled_from([1, 4, 256]),
)
def test_every_plan_passes_the_checker_down_to_the_least_budget(
    seed, n_prompts, vocabulary, spare, workers, order, step_tokens, max_rows
):
    work = made_up(seed, n_prompts=n_prompts, vocabulary=vocabulary)
    rng = np.random.default_rng(seed)
    loads = RowLoads(
        work.loads.output_tokens,
        *(rng.integers(1, 3, n_prompts), rng.integers(0, 2, n_prompts)),
        rng.integers(-1, 2, n_prompts),
    )
    least = int((work.prompts.lengths + loads.output_tokens * loads.forks).max())
    plan = plan_job(
        *(work.prompts, loads, KvBudget((least + spare) * 10, token_bytes=10)),
        BatchConfig(order=order, step_tokens=step_tokens, max_rows=max_rows),
        workers=workers,
    )
    assert verify_plan(plan, work.prompts, loads) == []
    assert plan.predicted_peak_bytes <= plan.budget.bytes


def test_a_budget_below_one_request_is_refused_with_the_least_that_fits():
    prompts = TokenTable.from_lists([[1, 2, 3], [1, 2, 3, 4, 5]])
    loads = RowLoads.uniform([4, 7])
    with pytest.raises(KvBudgetError, match="at least 120 bytes") as refused:
        plan_job(prompts, loads, KvBudget(119, token_bytes=10))
    assert refused.value.minimum_bytes == 120
    plan = plan_job(prompts, loads, KvBudget(120, token_bytes=10))
    assert verify_plan(plan, prompts, loads) == []
    assert over_budget(prompts, loads, KvBudget(119, token_bytes=10)).tolist() == [1]
    rest = plan_job(prompts, loads, KvBudget(119, token_bytes=10), todo=np.array([0]))
    assert rest.rows.prompt.tolist() == [0]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_planned_at_the_trie_optimum(name):
    work = preset_workload(name)
    plan = plan_job(work.prompts, work.loads, AMPLE)
    preset = PRESETS[name]
    prefixes = preset.groups if preset.prefix_tokens else 0
    assert plan.stats.planned == plan.stats.optimal
    assert int((plan.groups.prefix_tokens > 0).sum()) == prefixes
    shared = preset.groups * preset.prefix_tokens * (preset.requests - 1)
    assert plan.stats.logical - plan.stats.planned == (shared if prefixes else 0)
    assert verify_plan(plan, work.prompts, work.loads) == []


@pytest.mark.parametrize("seed", range(10))
def test_what_is_left_of_a_job_is_planned_without_the_finished_rows(seed):
    work = made_up(seed)
    todo = np.flatnonzero(np.random.default_rng(seed).random(120) < 0.4)
    plan = plan_job(work.prompts, work.loads, AMPLE, todo=todo)
    assert sorted([*plan.rows.prompt, *plan.duplicates.prompt]) == todo.tolist()
    assert verify_plan(plan, work.prompts, work.loads, todo) == []
    assert verify_plan(plan, work.prompts, work.loads) != []
    alone = TokenTable.from_lists([work.prompts[i].tolist() for i in todo])
    same = plan_job(alone, RowLoads.uniform(work.loads.output_tokens[todo], kind=0), AMPLE)
    assert (same.stats, same.predicted_s) == (plan.stats, plan.predicted_s)


def test_several_levels_save_what_one_level_cannot():
    document, chapters = [7] * 100, ([1] * 50, [2] * 50)
    rows = [[*document, *chapter, i, 0] for chapter in chapters for i in range(4)]
    rows += [[*document, 3 + i, 0] for i in range(4)]
    prompts = TokenTable.from_lists(rows)
    plan = plan_job(prompts, RowLoads.uniform([5] * 12), AMPLE, cost=CostModel(group_s=0))
    assert plan.stats.optimal == plan.stats.planned == 100 + 2 * 50 + 12 * 2
    # One level: the document and each chapter with a copy of it, 100 + 2 x 150.
    assert plan.stats.single_level == 400 + 12 * 2
    root, first, second = (plan.group(i) for i in range(3))
    assert (root.parent, root.prefix_tokens, len(root.members)) == (None, 100, 4)
    assert (first.parent, first.copied_tokens, first.prefix_tokens) == (0, 100, 150)
    assert (root.closes, first.closes, second.closes) == (2, 1, 2)
    assert first.chunks(20) == [(100, 120), (120, 140), (140, 150)]


def test_prefixes_that_save_less_than_they_cost_dissolve():
    prompts = TokenTable.from_lists([[1, 2, 3, i, 0] for i in range(4)])
    loads = RowLoads.uniform([1] * 4)
    saving_s = 3 * 3 * CostModel().prefill_s
    kept = plan_job(prompts, loads, AMPLE, cost=CostModel(group_s=saving_s * 0.9))
    gone = plan_job(prompts, loads, AMPLE, cost=CostModel(group_s=saving_s * 1.1))
    assert kept.groups.prefix_tokens.tolist() == [3]
    assert gone.groups.prefix_tokens.tolist() == [0]


def test_equal_greedy_prompts_run_once_and_draws_each_for_itself():
    prompts = TokenTable.from_lists([[1, 2, 3]] * 4)
    kinds = np.array([0, 0, -1, -1])
    ones = np.ones(4, np.int64)
    loads = RowLoads(ones * 8, ones, ones * 0, kinds)
    plan = plan_job(prompts, loads, AMPLE)
    assert plan.n_rows == 3
    assert plan.duplicates.prompt.tolist() == [1]
    assert plan.duplicates.source.tolist() == [0]
    apart = plan_job(prompts, loads, AMPLE, BatchConfig(merge_duplicates=False))
    assert apart.n_rows == 4


def test_tenants_never_share_a_prefix_or_a_result():
    prompts = TokenTable.from_lists([[5] * 50 + [i % 2] for i in range(8)])
    loads = replace(RowLoads.uniform([4] * 8, kind=0), tenants=np.arange(8) // 4)
    plan = plan_job(prompts, loads, AMPLE)
    assert plan.stats.optimal == 2 * 52
    assert verify_plan(plan, prompts, loads) == []
    assert verify_plan(plan, prompts, replace(loads, tenants=np.arange(8) % 4))


def test_a_tree_is_split_only_above_its_share_and_the_price_is_stated():
    work = preset_workload("D")
    whole = plan_job(work.prompts, work.loads, AMPLE)
    split = plan_job(work.prompts, work.loads, AMPLE, workers=2)
    copies = int((split.groups.prefix_tokens > 0).sum())
    assert copies >= 2
    assert split.split_tokens == (copies - 1) * 1_000
    assert split.stats.planned == whole.stats.planned + split.split_tokens
    loads_s = [shard.predicted_s for shard in split.shards]
    assert max(loads_s) < 0.65 * sum(loads_s)
    assert verify_plan(split, work.prompts, work.loads) == []
    # 8 groups of one size on 2 workers: each is exactly at the limit, so none is split.
    assert plan_job(*_pair(preset_workload("A")), AMPLE, workers=1).split_tokens == 0


def _pair(work):
    return work.prompts, work.loads


def test_the_cheapest_of_the_simulated_orders_is_kept():
    work = made_up(3)
    budget = KvBudget(600 * 10, token_bytes=10)
    auto = plan_job(work.prompts, work.loads, budget)
    each = {
        name: plan_job(work.prompts, work.loads, budget, BatchConfig(order=name)).predicted_s
        for name in ("prefix", "ratio", "longest")
    }
    assert auto.predicted_s == min(each.values())
    assert auto.shards[0].order == min(each, key=each.get)


@pytest.mark.parametrize("seed", range(3))
def test_more_pieces_than_workers_split_no_more_trees_and_come_longest_first(seed):
    work = made_up(seed)
    budget = KvBudget(800 * 10, token_bytes=10)
    whole = plan_job(work.prompts, work.loads, budget, workers=2)
    fine = plan_job(work.prompts, work.loads, budget, workers=2, pieces=4)
    assert verify_plan(fine, work.prompts, work.loads) == []
    assert len(whole.shards) == 2 < len(fine.shards) <= 8
    assert fine.split_tokens == whole.split_tokens
    seconds = [shard.predicted_s for shard in fine.shards]
    assert seconds == sorted(seconds, reverse=True)


def test_the_ratio_order_starts_with_the_rows_that_decode_longest():
    prompts = TokenTable.from_lists([[g] * 20 + [i, 0] for g in range(3) for i in range(3)])
    loads = RowLoads.uniform([2, 2, 2, 50, 60, 70, 9, 9, 9])
    plan = plan_job(prompts, loads, AMPLE, BatchConfig(order="ratio"))
    assert plan.rows.prompt.tolist() == [5, 4, 3, 6, 7, 8, 0, 1, 2]


@pytest.fixture(scope="module")
def planned():
    work = made_up(11)
    plan = plan_job(work.prompts, work.loads, KvBudget(800 * 10, token_bytes=10), workers=2)
    assert plan.split_tokens >= 0
    return plan, work


def _changed(column, place, value):
    column = column.copy()
    column[place] = value
    return column


def _groups(plan, **columns):
    return replace(plan, groups=replace(plan.groups, **columns))


def _swap_rows(plan):
    """Exchange rows of two groups whose prefixes differ."""
    first = [i for i in range(plan.n_groups) if plan.groups.prefix_tokens[i] > 3]
    one, two = (int(plan.groups.first_row[i]) for i in (first[0], first[-1]))
    columns = {
        name: _changed(getattr(plan.rows, name), [one, two], getattr(plan.rows, name)[[two, one]])
        for name in ("prompt", "output_tokens", "forks")
    }
    return replace(plan, rows=replace(plan.rows, **columns))


def _child(plan):
    return int(np.flatnonzero(plan.groups.parent >= 0)[0])


FAULTS = {
    "a row twice": (
        "rows",
        lambda p: replace(
            p, rows=replace(p.rows, prompt=_changed(p.rows.prompt, 0, p.rows.prompt[1]))
        ),
    ),
    "a duplicate of another prompt": (
        "rows",
        lambda p: replace(
            p,
            duplicates=replace(
                p.duplicates, source=np.full_like(p.duplicates.source, p.rows.prompt[0])
            ),
        ),
    ),
    "rows of another group": ("prefix", _swap_rows),
    "a prefix one token too long": (
        "prefix",
        lambda p: _groups(
            p,
            prefix_tokens=p.groups.prefix_tokens
            + (np.arange(p.n_groups) == np.argmax(p.groups.n_rows * (p.groups.prefix_tokens > 0))),
        ),
    ),
    "a parent that runs later": (
        "parents",
        lambda p: _groups(p, parent=_changed(p.groups.parent, _child(p), _child(p) + 1)),
    ),
    "a parent with another prefix": (
        "parents",
        lambda p: _groups(
            p,
            prefix_row=_changed(
                p.groups.prefix_row,
                p.groups.parent[_child(p)],
                p.groups.prefix_row[p.groups.parent < 0][-1],
            ),
        ),
    ),
    "a prefix freed too early": (
        "lifetimes",
        lambda p: _groups(p, closes=np.arange(p.n_groups)),
    ),
    "a shard that ends early": (
        "shards",
        lambda p: replace(
            p, shards=(replace(p.shards[0], end_group=p.shards[0].end_group - 1), *p.shards[1:])
        ),
    ),
    "a budget below the peak": (
        "budget",
        lambda p: replace(p, budget=KvBudget(90 * 10, token_bytes=10)),
    ),
    "a peak that is too low": (
        "totals",
        lambda p: replace(p, shards=(replace(p.shards[0], predicted_peak_tokens=1), *p.shards[1:])),
    ),
    "tokens that were not counted": (
        "totals",
        lambda p: replace(p, stats=replace(p.stats, planned=p.stats.planned - 1)),
    ),
    "other outputs": (
        "inputs",
        lambda p: replace(p, rows=replace(p.rows, output_tokens=p.rows.output_tokens + 1)),
    ),
    "other prompts": ("inputs", lambda p: replace(p, tokens_digest="0" * 64)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_checker_finds_a_planted_fault(fault, planned):
    plan, work = planned
    assert verify_plan(plan, work.prompts, work.loads) == []
    rule, plant = FAULTS[fault]
    found = verify_plan(plant(plan), work.prompts, work.loads)
    assert rule in {violation.rule for violation in found}


def test_a_plan_survives_the_disk_and_damage_is_noticed(planned, tmp_path):
    plan, _ = planned
    folder = write_plan(plan, tmp_path / "plan")
    again = read_plan(folder)
    assert again.content_hash == plan.content_hash
    assert again.header() == plan.header()
    assert np.array_equal(again.rows.prompt, plan.rows.prompt)
    write_plan(plan, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan"]

    header = orjson.loads((folder / "plan.json").read_bytes())
    (folder / "plan.json").write_bytes(orjson.dumps(header | {"step_tokens": 8}))
    with pytest.raises(DatasetUnreadableError, match="changed after it was written"):
        read_plan(folder)
    (folder / "plan.json").write_bytes(orjson.dumps(header | {"schema_version": 99}))
    with pytest.raises(DatasetUnreadableError, match="schema version 99, this release reads 1"):
        read_plan(folder)
    (folder / "plan.json").write_bytes(orjson.dumps(header))
    (folder / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetUnreadableError, match="plan the job again"):
        read_plan(folder)
    (folder / "rows.parquet").unlink()
    with pytest.raises(DatasetMissingError, match=r"rows.parquet is missing"):
        read_plan(folder)


def test_equal_inputs_give_equal_plans_and_other_prices_another_one():
    work, again = made_up(5), made_up(5)
    first = plan_job(work.prompts, work.loads, AMPLE)
    assert first.content_hash == plan_job(again.prompts, again.loads, AMPLE).content_hash
    dearer = plan_job(work.prompts, work.loads, AMPLE, cost=CostModel(step_s=0.02))
    assert dearer.content_hash != first.content_hash


def test_an_empty_job_has_an_empty_plan_and_wrong_inputs_are_refused(tmp_path):
    empty = TokenTable.from_lists([])
    plan = plan_job(empty, RowLoads.uniform([]), AMPLE)
    assert (plan.n_rows, plan.n_groups, plan.predicted_peak_bytes) == (0, 0, 0)
    assert verify_plan(plan, empty, RowLoads.uniform([])) == []
    assert read_plan(write_plan(plan, tmp_path / "p")).content_hash == plan.content_hash
    one = TokenTable.from_lists([[1]])
    with pytest.raises(DataError, match="1 prompts need loads of 1 rows"):
        plan_job(one, RowLoads.uniform([1, 2]), AMPLE)
    with pytest.raises(DataError, match="must be at least 1, found 0"):
        plan_job(one, RowLoads.uniform([0]), AMPLE)

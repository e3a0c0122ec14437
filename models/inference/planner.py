"""Make the plan of a job: sort, tree, choice, budget, shards, order; see `plan_job`."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.inference.config import BatchConfig, OrderName
from models.inference.cost import CostModel
from models.inference.enlarge import Trees, choose_groups
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget, KvBudgetError
from models.inference.order import Loads, Played, Sequence, play, sequence
from models.inference.plan import Duplicates, GroupTable, Plan, RowColumns, Shard
from models.inference.prefix import (
    PrefixStats,
    SortedPrompts,
    drop_repeats,
    prefix_stats,
    sort_prompts,
)
from models.inference.shard import Division, divide
from models.inference.token_table import TokenTable

Column = NDArray[np.int64]
ORDERS: tuple[OrderName, ...] = ("prefix", "ratio", "longest")


class Phases:
    """CPU seconds of this process per phase of planning."""

    def __init__(self) -> None:
        """Start the clock."""
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def mark(self, name: str) -> None:
        """End a phase: it takes the time since the mark before."""
        now = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def plan_job(
    prompts: TokenTable,
    loads: RowLoads,
    budget: KvBudget,
    config: BatchConfig | None = None,
    cost: CostModel | None = None,
    workers: int = 1,
    todo: Column | None = None,
    phases: Phases | None = None,
    pieces: int = 1,
) -> Plan:
    """Plan a whole batch.

    Args:
        prompts: All prompts, none empty.
        loads: Their outputs, tenants and sampling kinds.
        budget: KV of one worker.
        config: Order, duplicates, step and chunk sizes.
        cost: Prices, as measured on the machine that will run the plan.
        workers: Workers that share the job; each has the budget.
        todo: Prompts to plan, ascending, as when a job is resumed; None: all.
        phases: Takes the CPU seconds of each phase.
        pieces: Shards per worker, the longest first: who is done takes the next one.

    Raises:
        KvBudgetError: A row alone needs more KV than the budget; names the least that does.
        DataError: Prompts and loads differ in number, a prompt is empty, a load is below 1.

    Source: Zheng et al., "BatchLLM", MLSys 2026, with copies instead of one level.
    """
    config, cost, phases = config or BatchConfig(), cost or CostModel(), phases or Phases()
    _check(prompts, loads, workers)
    todo = np.arange(len(prompts)) if todo is None else todo.astype(np.int64)
    too_large = over_budget(prompts, loads, budget, todo)
    whole = prompts.lengths + loads.output_tokens * loads.forks
    if len(too_large):
        raise KvBudgetError(budget, int(whole[too_large].max()), len(too_large))
    kinds = loads.kinds if config.merge_duplicates else np.full(len(prompts), -1, np.int64)
    found = sort_prompts(prompts, loads.tenants, kinds, todo)
    phases.mark("sort")
    kept, runs_as = drop_repeats(prompts, found, loads.tenants, kinds)
    phases.mark("repeats")
    if not len(todo):
        return _assemble(prompts, loads, budget, config, cost, kept, runs_as, [], 0)

    from models.inference.compiled.tree import build_tree

    nodes = build_tree(found.lcp)
    phases.mark("tree")
    stats = prefix_stats(prompts, found, nodes)
    phases.mark("stats")
    if len(kept.order) < len(found.order):
        nodes = build_tree(kept.lcp)
    phases.mark("tree")
    trees = choose_groups(nodes, whole[kept.order], cost, budget.tokens)
    del nodes, whole
    phases.mark("choose")
    work = Loads(
        *((prompts.lengths + loads.carried)[kept.order], loads.remaining[kept.order]),
        loads.forks[kept.order],
    )
    division = divide(trees, work, cost, workers, pieces)
    parts = [
        _cheapest(trees, division, shard, work, config, cost, budget)
        for shard in range(workers * pieces)
    ]
    parts = [part for part in parts if len(part[0].position)]
    if pieces > 1:
        parts.sort(key=lambda part: -part[1].seconds)
    phases.mark("order")
    plan = _assemble(
        prompts, loads, budget, config, cost, kept, runs_as, parts, division.split_tokens, stats
    )
    phases.mark("assemble")
    return plan


def over_budget(
    prompts: TokenTable, loads: RowLoads, budget: KvBudget, todo: Column | None = None
) -> Column:
    """Return the prompts that alone need more KV than the budget, ascending.

    A job that should go on without them gives them row errors and plans the others (`todo`).
    """
    todo = np.arange(len(prompts)) if todo is None else todo
    needed = prompts.lengths[todo] + (loads.output_tokens * loads.forks)[todo]
    return np.asarray(todo[needed > budget.tokens], np.int64)


def _check(prompts: TokenTable, loads: RowLoads, workers: int) -> None:
    n = len(prompts)
    sizes = {len(loads.output_tokens), len(loads.forks), len(loads.tenants), len(loads.kinds)}
    if sizes != {n}:
        raise DataError(
            f"{n} prompts need loads of {n} rows, got {sorted(sizes)}; make both from one input"
        )
    if n and min(loads.output_tokens.min(), loads.forks.min()) < 1:
        raise DataError(
            "output tokens and forks must be at least 1, found "
            f"{min(loads.output_tokens.min(), loads.forks.min())}; rows that emit nothing are "
            "row errors"
        )
    if workers < 1:
        raise DataError(f"a plan needs at least one worker, got {workers}")


def _cheapest(
    trees: Trees,
    division: Division,
    worker: int,
    work: Loads,
    config: BatchConfig,
    cost: CostModel,
    budget: KvBudget,
) -> tuple[Sequence, Played, OrderName]:
    """Simulate the orders asked for on one worker and keep the cheapest, the first if equal."""
    groups = np.flatnonzero(division.group_shard == worker)
    positions = np.flatnonzero(division.row_shard == worker)
    names = ORDERS if config.order == "auto" else (config.order,)
    best: tuple[Sequence, Played, OrderName] | None = None
    for name in names:
        line = sequence(trees, groups, positions, work, name, cost)
        played = play(line, work, cost, config.step_tokens, config.max_rows, budget.tokens)
        if best is None or played.seconds < best[1].seconds:
            best = line, played, name
    assert best is not None
    return best


def _assemble(
    prompts: TokenTable,
    loads: RowLoads,
    budget: KvBudget,
    config: BatchConfig,
    cost: CostModel,
    kept: SortedPrompts,
    runs_as: Column,
    parts: list[tuple[Sequence, Played, OrderName]],
    split_tokens: int,
    stats: PrefixStats | None = None,
) -> Plan:
    shards, first_group, first_row = [], 0, 0
    columns: dict[str, list[Column]] = {
        name: [np.zeros(0, np.int64)] for name in ("prefix", "low", "parent", "n_rows", "shard")
    }
    rows = [np.zeros(0, np.int64)]
    for number, (line, played, name) in enumerate(parts):
        n_groups, n_rows = len(line.prefix), len(line.position)
        columns["prefix"].append(line.prefix)
        columns["low"].append(line.low)
        columns["parent"].append(np.where(line.parent >= 0, line.parent + first_group, -1))
        columns["n_rows"].append(line.n_rows)
        columns["shard"].append(np.full(n_groups, number, np.int64))
        rows.append(line.position)
        shards.append(
            Shard(
                *(first_group, first_group + n_groups, first_row, first_row + n_rows),
                *(name, played.steps, played.seconds, played.peak_tokens),
            )
        )
        first_group += n_groups
        first_row += n_rows
    table = {name: np.concatenate(parts_of) for name, parts_of in columns.items()}
    closes = np.arange(first_group)
    child = np.flatnonzero(table["parent"] >= 0)
    np.maximum.at(closes, table["parent"][child], child)
    # The last place answers -1: no prefix, no prompt.
    prompt_at = np.append(kept.order, -1)
    groups = GroupTable(
        prefix_tokens=table["prefix"],
        prefix_row=prompt_at[table["low"]],
        parent=table["parent"],
        first_row=table["n_rows"].cumsum() - table["n_rows"],
        n_rows=table["n_rows"],
        closes=closes,
        shard=table["shard"],
    )
    prompt = kept.order[np.concatenate(rows)]
    computed = int((groups.prefix_tokens - groups.copied_tokens).sum())
    computed += int((prompts.lengths + loads.carried)[prompt].sum())
    computed -= int((groups.prefix_tokens * groups.n_rows).sum())
    twins = np.flatnonzero((runs_as >= 0) & (runs_as != np.arange(len(prompts))))
    base = stats or PrefixStats(0, 0, 0, 0)
    return Plan(
        groups=groups,
        rows=RowColumns(prompt, loads.remaining[prompt], loads.forks[prompt]),
        duplicates=Duplicates(twins, runs_as[twins]),
        shards=tuple(shards),
        stats=replace(base, planned=computed),
        cost=cost,
        budget=budget,
        step_tokens=config.step_tokens,
        max_rows=config.max_rows,
        chunk_tokens=config.chunk_tokens,
        split_tokens=split_tokens,
        tokens_digest=prompts.digest,
        loads_digest=loads.digest,
    )

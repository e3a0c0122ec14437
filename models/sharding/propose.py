"""Propose layouts: what fits first, then what is fast, then three that differ."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import StepCost, step_cost
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, legal, warnings, why_illegal
from models.sharding.memory import MemoryUse, memory_use
from models.sharding.serving import ServeCost, serve_cost
from models.sharding.space import enumerate_layouts
from models.sharding.specs import Slice
from models.sharding.ways_out import nearest_batch, nearest_chips

Floats = NDArray[np.float64]
Prior = Callable[[LayoutTable, Job], Floats]
"""What other knowledge adds to the log of a step time; lower is better."""

AnswerT = TypeVar("AnswerT", bound=Hashable)

_TIGHT = 0.85
"""Share of the capacity from which a layout counts as tight."""
_MOST_CHIPS = 2**17


@dataclass(frozen=True)
class Interval:
    """A prediction with its 10 % and 90 % quantiles."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Proposal:
    """One layout, what it should take and why it is here."""

    rank: int
    layout: Layout
    step_s: Interval
    memory_bytes: Interval
    terms_s: dict[str, float]
    """Seconds of a step by term."""
    delta_s: dict[str, float]
    """Each term less that of the first proposal (for the first: of the next best mesh)."""
    justification: tuple[str, ...]
    risks: tuple[str, ...]
    ttft_s: float | None = None
    """Seconds to the first token when serving."""
    tpot_s: float | None = None
    """Seconds per further token when serving."""


@dataclass(frozen=True)
class Infeasible:
    """Why there is no proposal."""

    reason: Literal["no legal layout", "out of memory", "too slow for its service level"]
    detail: str
    minimum_chips: int | None
    """Fewest chips of this kind on which a layout fits; None: none was found, or chips are not
    what is missing."""


@dataclass(frozen=True)
class ShardingPlan:
    """The answer to a job: proposals, or why there are none."""

    proposals: tuple[Proposal, ...]
    infeasible: Infeasible | None
    candidates: int
    """Legal layouts that were looked at."""
    rejected: dict[str, int] = field(default_factory=dict)
    """How many of them fell out, by reason."""


def cost_of(table: LayoutTable, job: Job, constants: Constants = DEFAULT) -> StepCost | ServeCost:
    """Return the time model of the job's stage."""
    if job.workload.is_training:
        return step_cost(table, job, constants)
    return serve_cost(table, job, constants)


def propose(
    job: Job,
    constants: Constants = DEFAULT,
    count: int = 3,
    prior: Prior | None = None,
    table: LayoutTable | None = None,
) -> ShardingPlan:
    """Propose layouts for a job.

    Layouts whose P90 of memory exceeds the capacity fall out before speed is looked at (if none
    is left, those whose middle does). Of the rest the fastest is first; each next one is the
    fastest on a mesh of its own.

    Args:
        job: Model, workload, slice.
        constants: Of the literature or of a site.
        count: Proposals that are wanted, 1 or more.
        prior: Added to the log of the times before ranking.
        table: Candidates; None: all legal layouts.

    Raises:
        ConfigError: `count` is below 1.
    """
    if count < 1:
        raise ConfigError(f"at least 1 proposal must be asked for, got {count}; give 3")
    table = enumerate_layouts(job) if table is None else table.take(legal(table, job))
    if table.size == 0:
        return ShardingPlan((), _no_legal(job), 0)
    use = memory_use(table, job, constants)
    capacity = job.place.chip.hbm_bytes
    fits = use.high <= capacity
    if not fits.any():
        fits = use.total <= capacity
    rejected = {"out of memory": int((~fits).sum())}
    if not fits.any():
        return ShardingPlan((), _too_big(job, constants, use), table.size, rejected)
    cost = cost_of(table, job, constants)
    keep = fits & _in_time(cost, job)
    rejected["too slow for its service level"] = int((fits & ~keep).sum())
    if not keep.any():
        return ShardingPlan((), _too_slow(cost, job, fits), table.size, rejected)
    score = np.log(cost.step_s) + (prior(table, job) if prior else 0.0)
    order = np.flatnonzero(keep)[np.argsort(score[keep], kind="stable")]
    chosen = pick_diverse(table, job, order, max(count, 2))
    proposals = tuple(
        _proposal(rank, row, chosen, table, job, cost, use)
        for rank, row in enumerate(chosen[:count], start=1)
    )
    return ShardingPlan(proposals, None, table.size, rejected)


def mesh_keys(table: LayoutTable, job: Job) -> NDArray[np.int64]:
    """Return what makes meshes equivalent: batch shards, tensor, context, expert, pipeline."""
    return np.stack(
        [table.batch_shards(job), table.tensor, table.context, table.expert, table.pipeline],
        axis=1,
    )


def pick_diverse(table: LayoutTable, job: Job, order: NDArray[np.intp], count: int) -> list[int]:
    """Return the first of each mesh, best first, until there are `count`."""
    keys, seen, chosen = mesh_keys(table, job), set(), []
    for row in order:
        key = tuple(int(size) for size in keys[row])
        if key not in seen:
            seen.add(key)
            chosen.append(int(row))
            if len(chosen) == count:
                break
    return chosen


def hedged(first: Sequence[AnswerT], second: Sequence[AnswerT]) -> list[AnswerT]:
    """Take from two lists in turn, the first one beginning; nothing twice.

    Where the cost model is wrong it is wrong about all its picks: what was best for a like job
    is the hedge.
    """
    mixed: list[AnswerT] = []
    for place in range(max(len(first), len(second))):
        mixed += [one[place] for one in (first, second) if place < len(one)]
    return list(dict.fromkeys(mixed))


def _in_time(cost: StepCost | ServeCost, job: Job) -> NDArray[np.bool_]:
    """Return which layouts keep the service level."""
    keep = np.ones(len(cost.step_s), dtype=np.bool_)
    if isinstance(cost, ServeCost):
        work = job.workload
        if work.ttft_s is not None:
            keep &= cost.ttft_s <= work.ttft_s
        if work.tpot_s is not None:
            keep &= cost.tpot_s <= work.tpot_s
    return keep


def _proposal(
    rank: int, row: int, chosen: list[int], table: LayoutTable, job: Job,
    cost: StepCost | ServeCost, use: MemoryUse,
) -> Proposal:  # fmt: skip
    terms = {name: float(column[row]) for name, column in cost.terms().items()}
    other = chosen[0] if rank > 1 else chosen[1] if len(chosen) > 1 else row
    delta = {name: terms[name] - float(column[other]) for name, column in cost.terms().items()}
    layout = table.row(row)
    capacity = job.place.chip.hbm_bytes
    share = float(use.high[row]) / capacity
    risks = warnings(layout, job)
    if share > 1:
        risks.append(f"it may not fit: P90 of memory is {share:.0%} of the capacity")
    elif share > _TIGHT:
        risks.append(f"memory is tight: P90 is {share:.0%} of the capacity")
    return Proposal(
        rank,
        layout,
        Interval(float(cost.low_s[row]), float(cost.step_s[row]), float(cost.high_s[row])),
        Interval(float(use.low[row]), float(use.total[row]), float(use.high[row])),
        terms,
        delta,
        _justify(rank, terms, delta, table.row(other), share, has_other=other != row),
        tuple(risks),
        float(cost.ttft_s[row]) if isinstance(cost, ServeCost) else None,
        float(cost.tpot_s[row]) if isinstance(cost, ServeCost) else None,
    )


def _justify(
    rank: int, terms: dict[str, float], delta: dict[str, float], other: Layout, share: float,
    has_other: bool,
) -> tuple[str, ...]:  # fmt: skip
    """Put the largest terms and the largest differences into words."""
    total = sum(terms.values())
    largest = max(terms, key=lambda name: terms[name])
    said = [f"{terms[largest] / total:.0%} of the {total:.3g} s are {largest}"]
    if has_other:
        name = "the next best mesh" if rank == 1 else "the first proposal"
        moves = sorted(delta.items(), key=lambda item: abs(item[1]), reverse=True)[:2]
        words = [f"{term} {value:+.3g} s" for term, value in moves if abs(value) > 1e-3 * total]
        if words:
            said.append(f"against {name} ({other.text()}): {', '.join(words)}")
    said.append(f"P90 of memory is {share:.0%} of the capacity")
    return tuple(said)


def _no_legal(job: Job) -> Infeasible:
    """Say why nothing is legal, by the plainest layout, and the nearest batch or chips that are.

    The plainest: every chip a shard of the batch when training, a replica when serving.
    """
    chips, asked = job.place.chips, job.workload.global_batch
    plain = Layout(fsdp=chips) if job.workload.is_training else Layout(data=chips, remat="none")
    said = why_illegal(plain, job)
    batch = nearest_batch(job)
    if batch != asked:
        # Else the layouts that were given are illegal, and others of the job are not.
        fewer = nearest_chips(job)
        ways = [f"a global batch of {batch}"] * (batch is not None)
        ways += [f"{fewer} chips"] * (fewer is not None)
        said.append(f"{' or '.join(ways) or 'no other batch or number of chips'} would do")
    return Infeasible("no legal layout", "; ".join(said) or "no axis sizes multiply", None)


def _too_slow(cost: StepCost | ServeCost, job: Job, fits: NDArray[np.bool_]) -> Infeasible:
    assert isinstance(cost, ServeCost)
    work = job.workload
    detail = (
        f"the least time to the first token is {float(cost.ttft_s[fits].min()):.3g} s "
        f"(asked: {work.ttft_s}), per token {float(cost.tpot_s[fits].min()):.3g} s "
        f"(asked: {work.tpot_s}); relax the service level, lower the batch or take more chips"
    )
    return Infeasible("too slow for its service level", detail, None)


def _too_big(job: Job, constants: Constants, use: MemoryUse) -> Infeasible:
    capacity = job.place.chip.hbm_bytes
    least = int(np.argmin(use.total))
    need = float(use.total[least])
    fewest = minimum_chips(job, constants)
    more = f"{fewest} chips would do" if fewest else "no number of chips that we tried does"
    detail = (
        f"{job.model.name} needs {need / 1e9:.3g} GB per chip at the least, "
        f"{job.place.chip.name} has {capacity / 1e9:.3g} GB; {more}"
    )
    return Infeasible("out of memory", detail, fewest)


def minimum_chips(job: Job, constants: Constants = DEFAULT) -> int | None:
    """Return the fewest chips of the job's kind on which some legal layout fits.

    The batch of a training step grows with the chips where it would not divide otherwise, as
    whoever takes more chips would do. None: nothing up to 131,072 chips fits.
    """
    chips = 1
    while chips <= _MOST_CHIPS:
        try:
            place = Slice.of_count(job.place.chip, chips)
        except ConfigError:
            chips *= 2
            continue
        work = job.workload
        if work.is_training and work.global_batch < chips:
            work = work.model_copy(update={"global_batch": chips})
        larger = Job(job.model, work, place)
        table = enumerate_layouts(larger)
        if table.size:
            use = memory_use(table, larger, constants)
            if (use.total <= place.chip.hbm_bytes).any():
                return chips
        chips *= 2
    return None

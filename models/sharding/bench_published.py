"""Published rows: whether the experts' layout is proposed, and its time right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.sharding.baselines import by_size, nearest, pure_fsdp
from models.sharding.bench import ShardingBenchConfig
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.layout import REMATS, Layout, LayoutTable, why_illegal
from models.sharding.memory import memory_use
from models.sharding.neighbours import log_prior
from models.sharding.propose import hedged, mesh_keys, pick_diverse
from models.sharding.published import Published
from models.sharding.space import enumerate_layouts

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Meshes:
    """The fastest layout that fits of each mesh, fastest first."""

    table: LayoutTable
    log_s: Floats
    candidates: int


@dataclass(frozen=True)
class Case:
    """One row, what was proposed for it by one proposer, and whether that matched."""

    id: str
    proposer: str
    group: str
    is_trivial: bool
    is_torus: bool
    expert: str
    proposals: tuple[str, ...]
    exact: tuple[bool, ...]
    """Of each proposal: the same sizes of every axis."""
    equivalent: tuple[bool, ...]
    """Of each proposal: the same, shards of weights and replicas taken together."""


@dataclass(frozen=True)
class TimeCase:
    """One row's step time, measured and predicted without rows of its model."""

    id: str
    group: str
    is_moe: bool
    is_torus: bool
    measured_s: float
    predicted_s: float
    constant_s: float
    """By one constant share of the peak per chip."""


def fastest_per_mesh(job: Job) -> Meshes:
    """Return the fastest layout that fits of each mesh; none where nothing fits."""
    table = enumerate_layouts(job)
    total = table.size
    use = memory_use(table, job)
    capacity = job.place.chip.hbm_bytes
    fits = use.high <= capacity if (use.high <= capacity).any() else use.total <= capacity
    table = table.take(fits)
    if table.size == 0:
        return Meshes(table, np.zeros(0), total)
    log_s = np.log(step_cost(table, job).step_s)
    order = np.argsort(log_s, kind="stable")
    _, first = np.unique(mesh_keys(table, job)[order], axis=0, return_index=True)
    rows = order[np.sort(first)]
    return Meshes(table.take(rows), log_s[rows], total)


def score_published(
    rows: Sequence[Published],
    known: Sequence[Published],
    config: ShardingBenchConfig,
    tell: Callable[[str], None],
) -> list[Case]:
    """Propose layouts for each row by every proposer, its own group being unknown.

    Args:
        rows: Rows that are scored.
        known: Rows that may be learned from; those of a row's group are left out for it.
        config: How many proposals, which weights of the prior.
        tell: Hears of each step.
    """
    meshes: dict[Job, Meshes] = {}
    for done, row in enumerate([*rows, *known]):
        if row.job not in meshes:
            tell(f"meshes of row {done + 1}: {row.job.model.name} on {row.job.place.text()}")
            found = fastest_per_mesh(row.job)
            few = np.arange(min(found.table.size, config.most_meshes))
            meshes[row.job] = Meshes(found.table.take(few), found.log_s[few], found.candidates)
    cases = []
    weights: dict[tuple[str, str], float] = {}
    for row in rows:
        others = [one for one in known if one.group != row.group]
        if row.group not in weights:
            tell(f"weight of the prior without {' on '.join(row.group)}")
            weights[row.group] = choose_weight(others, meshes, config)
        ours = ranked(row.job, meshes[row.job], others, weights[row.group], config.top)
        cost = ranked(row.job, meshes[row.job], (), 0.0, config.top)
        near = nearest(row.job, others, config.top)
        answers = {
            "loomworks": mixed(row.job, ours, near, config.top),
            "cost model and prior": ours,
            "cost model alone": cost,
            "nearest rows": near,
            "pure FSDP": [pure_fsdp(row.job)],
            "table of sizes": [by_size(row.job)],
        }
        cases += [_case(row, name, layouts) for name, layouts in answers.items()]
    return cases


def ranked(
    job: Job, meshes: Meshes, others: Sequence[Published], weight: float, count: int
) -> list[Layout]:
    """Return the best layouts, each of a mesh of its own."""
    score = meshes.log_s
    if weight > 0 and others:
        score = score + weight * log_prior(meshes.table, job, others)
    order = np.argsort(score, kind="stable")
    return [meshes.table.row(row) for row in pick_diverse(meshes.table, job, order, count)]


def mixed(job: Job, first: Sequence[Layout], second: Sequence[Layout], count: int) -> list[Layout]:
    """Hedge a list with another one, each mesh once."""
    found: dict[tuple[int, ...], Layout] = {}
    for layout in hedged(first, [one for one in second if not why_illegal(one, job)]):
        key = mesh_keys(LayoutTable.of([layout]), job)[0]
        found.setdefault(tuple(int(size) for size in key), layout)
    return list(found.values())[:count]


def choose_weight(
    others: Sequence[Published], meshes: dict[Job, Meshes], config: ShardingBenchConfig
) -> float:
    """Return the weight of the prior that matches most first answers, leaving groups out."""
    groups = sorted({one.group for one in others})
    hits = np.zeros(len(config.prior_weights))
    for group in groups:
        rest = [one for one in others if one.group != group]
        for row in (one for one in others if one.group == group):
            found = meshes[row.job]
            if found.table.size == 0:
                continue
            prior = log_prior(found.table, row.job, rest)
            wanted = mesh_keys(LayoutTable.of([row.layout]), row.job)[0]
            is_right = (mesh_keys(found.table, row.job) == wanted).all(axis=1)
            for place, weight in enumerate(config.prior_weights):
                hits[place] += is_right[int(np.argmin(found.log_s + weight * prior))]
    # Of weights that do as well the smaller: the cost model says why, the prior does not.
    return config.prior_weights[int(np.argmax(hits))]


def _case(row: Published, proposer: str, layouts: Sequence[Layout]) -> Case:
    job, expert = row.job, row.layout
    keys = mesh_keys(LayoutTable.of([expert, *layouts]), job)
    same = (keys[1:] == keys[0]).all(axis=1)

    def shards(layout: Layout) -> tuple[int, int]:
        return layout.data, layout.fsdp * layout.fsdp_transpose

    exact = [
        bool(s) and shards(one) == shards(expert) for s, one in zip(same, layouts, strict=True)
    ]
    return Case(
        row.id, proposer, " on ".join(row.group), row.is_trivial, job.has_expert_axis,
        expert.text(), tuple(one.text() for one in layouts), tuple(exact),
        tuple(bool(one) for one in same),
    )  # fmt: skip


def predicted_s(row: Published) -> float:
    """Return the step time of a row's own layout; the policy is the fastest that fits.

    Policies are published in words only, so that of the model's own choice is taken.
    """
    variants = LayoutTable.of([replace(row.layout, remat=remat) for remat in REMATS])
    fits = memory_use(variants, row.job).total <= row.job.place.chip.hbm_bytes
    seconds = step_cost(variants, row.job).step_s
    return float(seconds[fits].min()) if fits.any() else float(seconds.max())


def held_memory(rows: Sequence[Published]) -> list[bool]:
    """Return of each published layout whether the memory model lets it run under some policy."""
    held = []
    for row in rows:
        variants = LayoutTable.of([replace(row.layout, remat=remat) for remat in REMATS])
        use = memory_use(variants, row.job).total
        held.append(bool((use <= row.job.place.chip.hbm_bytes).any()))
    return held


def score_times(rows: Sequence[Published], known: Sequence[Published]) -> list[TimeCase]:
    """Predict the step time of each row's layout, scaled on rows of other models.

    One factor per chip (of its kind where the chip was not seen): the median of measured over
    predicted, of dense and of MoE rows apart; beside it one constant MFU in the same way.
    """
    timed = [(one, one.step_s, predicted_s(one)) for one in known if one.step_s]
    cases = []
    for row in rows:
        if not row.step_s:
            continue
        seen = [one for one in timed if one[0].job.model.name != row.job.model.name]
        alike = _alike(row, seen)
        if not alike:
            continue
        scale = float(np.median([measured / guess for _, measured, guess in alike]))
        share = float(np.median([_peak_s(one) / measured for one, measured, _ in alike]))
        cases.append(
            TimeCase(
                row.id, " on ".join(row.group), bool(row.job.model.experts),
                row.job.has_expert_axis, row.step_s, scale * predicted_s(row), _peak_s(row) / share,
            )
        )  # fmt: skip
    return cases


def _alike(
    row: Published, seen: Sequence[tuple[Published, float, float]]
) -> list[tuple[Published, float, float]]:
    """Return rows of the same chip, else kind; of the same sort of model where there are any."""
    chip, is_moe = row.job.place.chip, bool(row.job.model.experts)
    by_chip = [one for one in seen if one[0].job.place.chip.name == chip.name]
    found = by_chip or [one for one in seen if one[0].job.place.chip.kind == chip.kind]
    same = [one for one in found if bool(one[0].job.model.experts) == is_moe]
    return same or found


def _peak_s(row: Published) -> float:
    """Return the seconds that a step's FLOPs would take at the peak of the chip."""
    job = row.job
    chip, work = job.place.chip, job.workload
    flops = job.model.train_flops(work.seq_len, is_causal=False) * work.tokens
    return flops / (job.place.chips * chip.rate(work.compute))


def as_rows(cases: Sequence[Case | TimeCase]) -> list[dict[str, object]]:
    """Return cases as JSON objects, so that every figure can be recomputed."""
    return [asdict(one) for one in cases]

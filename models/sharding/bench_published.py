"""Published rows: whether the experts' layout is among the proposals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.sharding.baselines import by_size, nearest, pure_fsdp
from models.sharding.bench import ShardingBenchConfig
from models.sharding.conventions import Conventions, choice_of, fit_conventions
from models.sharding.job import Job
from models.sharding.knowledge.guard import is_same_group
from models.sharding.layout import Layout, LayoutTable
from models.sharding.meshes import Meshes, fastest_per_mesh
from models.sharding.propose import mesh_keys
from models.sharding.published import Published


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
    shares: tuple[float, ...] = ()
    """Of each proposal: the chance that it is the experts' mesh; empty: the proposer says none."""


def score_published(
    rows: Sequence[Published],
    known: Sequence[Published],
    config: ShardingBenchConfig,
    tell: Callable[[str], None],
) -> list[Case]:
    """Propose layouts for each row by every proposer, its own group being unknown.

    Args:
        rows: Rows that are scored.
        known: Rows that may be learned from; those of a row's group, or of its shape on its
            chip, are left out for it.
        config: How many proposals, how strongly weights are pulled to zero.
        tell: Hears of each step.
    """
    meshes: dict[Job, Meshes] = {}
    for done, row in enumerate([*rows, *known]):
        if row.job not in meshes:
            tell(f"meshes of row {done + 1}: {row.job.model.name} on {row.job.place.text()}")
            meshes[row.job] = fastest_per_mesh(row.job)
    choices = [choice_of(one, meshes[one.job]) for one in known]
    cases = []
    learned: dict[tuple[tuple[int, ...], str], Conventions] = {}
    for row in rows:
        places = tuple(n for n, one in enumerate(known) if not is_told_by(row, one))
        others = [known[place] for place in places]
        key = (places, row.job.place.chip.kind)
        if key not in learned:
            tell(f"conventions without {' on '.join(row.group)}")
            learned[key] = fit_conventions(
                [one for n in places if (one := choices[n]) and one.kind == key[1]], config.ridges
            )
        found = meshes[row.job]
        order = learned[key].order(found, row.job)[: config.top]
        shares = learned[key].shares(found, row.job)
        answers = {
            "loomworks": [found.table.row(int(place)) for place in order],
            "cost model alone": [
                found.table.row(place) for place in range(min(config.top, found.table.size))
            ],
            "nearest rows": nearest(row.job, others, config.top),
            "pure FSDP": [pure_fsdp(row.job)],
            "table of sizes": [by_size(row.job)],
        }
        for name, layouts in answers.items():
            said = () if shares is None or name != "loomworks" else shares[order].tolist()
            cases.append(_case(row, name, layouts, tuple(said)))
    return cases


def is_told_by(row: Published, other: Published) -> bool:
    """Whether another row is of a row's group: its family or its shape, on its chip."""
    return row.group == other.group or is_same_group(row.job, other.job)


def _case(
    row: Published, proposer: str, layouts: Sequence[Layout], shares: tuple[float, ...]
) -> Case:
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
        tuple(bool(one) for one in same), shares,
    )  # fmt: skip

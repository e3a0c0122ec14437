"""Judge a layout of one's own: is it legal, does it fit, how long does a step take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from models.sharding.constants import DEFAULT, Constants
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, warnings, why_illegal
from models.sharding.memory import memory_use
from models.sharding.propose import Interval, Proposal, ShardingPlan, cost_of, propose

Fit = Literal["illegal", "fits", "tight", "doubtful", "does not fit"]
"""By P90 of the memory (below 85 % of the capacity: fits; below it: tight) and its middle."""
_TIGHT = 0.85
_PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "cache", "buffers")


@dataclass(frozen=True)
class Judgement:
    """What is known of one layout before it is run."""

    layout: Layout
    fit: Fit
    broken: tuple[str, ...]
    """Rules that it breaks, each with the nearest legal sizes; the rest is None then."""
    warnings: tuple[str, ...]
    """What is legal but usually slow."""
    capacity_bytes: float
    memory_bytes: Interval | None = None
    memory_parts: dict[str, float] = field(default_factory=dict)
    """Bytes of a chip by what holds them."""
    step_s: Interval | None = None
    terms_s: dict[str, float] = field(default_factory=dict)
    best: Proposal | None = None
    """The first proposal for the same job; None: there is none."""

    @property
    def times_best(self) -> float | None:
        """How many times as long as the first proposal a step takes."""
        if self.step_s is None or self.best is None:
            return None
        return self.step_s.middle / self.best.step_s.middle


def judge(
    job: Job, layout: Layout, constants: Constants = DEFAULT, plan: ShardingPlan | None = None
) -> Judgement:
    """Return whether a layout is legal and fits, and how long its step takes.

    Args:
        job: Model, workload, slice.
        layout: Any layout.
        constants: Of the literature or of a site.
        plan: What is proposed for the job; None: it is proposed here.

    Raises:
        ConfigError: A size of the layout is below 1.
    """
    capacity = job.place.chip.hbm_bytes
    broken = tuple(why_illegal(layout, job))
    proposals = (propose(job, constants, count=1) if plan is None else plan).proposals
    best = proposals[0] if proposals else None
    if broken:
        return Judgement(layout, "illegal", broken, (), capacity, best=best)
    table = LayoutTable.of([layout])
    use, cost = memory_use(table, job, constants), cost_of(table, job, constants)
    memory = Interval(float(use.low[0]), float(use.total[0]), float(use.high[0]))
    fit: Fit = "does not fit"
    if memory.middle <= capacity:
        fit = "doubtful"
    if memory.high <= capacity:
        fit = "tight" if memory.high > _TIGHT * capacity else "fits"
    return Judgement(
        layout, fit, (), tuple(warnings(layout, job)), capacity, memory,
        {name: float(getattr(use, name)[0]) for name in _PARTS},
        Interval(float(cost.low_s[0]), float(cost.step_s[0]), float(cost.high_s[0])),
        {name: float(column[0]) for name, column in cost.terms().items()}, best,
    )  # fmt: skip

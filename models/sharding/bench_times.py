"""Step times of published rows: predicted without the rows of the model, and what fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.sharding.knowledge.guard import is_same_group, is_same_shape
from models.sharding.layout import REMATS, LayoutTable
from models.sharding.memory import memory_use
from models.sharding.prices import Prices, TimedRun, learn_prices
from models.sharding.published import Published


@dataclass(frozen=True)
class TimeCase:
    """One row's step time, measured and predicted without rows of its model."""

    id: str
    group: str
    is_moe: bool
    is_torus: bool
    measured_s: float
    predicted_s: float
    """The geometric mean of the next two."""
    priced_s: float
    """By the time model at learned prices."""
    constant_s: float
    """By one constant share of the peak per chip."""
    plain_s: float
    """By the time model with constants of the literature: nothing is learned."""


def held_memory(rows: Sequence[Published]) -> list[bool]:
    """Return of each published layout whether the memory model lets it run under some policy."""
    held = []
    for row in rows:
        variants = LayoutTable.of([replace(row.layout, remat=remat) for remat in REMATS])
        use = memory_use(variants, row.job).total
        held.append(bool((use <= row.job.place.chip.hbm_bytes).any()))
    return held


def score_times(
    rows: Sequence[Published], known: Sequence[Published], without_group: bool = False
) -> list[TimeCase]:
    """Predict the step time of each row's layout, learning from rows of other models.

    Prices of the terms (`prices.py`), and one constant share of the peak per chip (of its kind
    where the chip was not seen), of dense and of MoE rows apart; their geometric mean is ours:
    they err for different reasons.

    Args:
        rows: Rows that are scored; those without a time are passed over.
        known: Rows that may be learned from; those of a row's model, by name or shape, are left
            out for it.
        without_group: Whether rows of its family on its chip are left out as well.
    """
    timed = [one for one in known if one.step_s]
    learned: dict[tuple[int, ...], Prices] = {}
    cases = []
    for row in rows:
        if not row.step_s:
            continue
        key = tuple(n for n, one in enumerate(timed) if not _is_told_by(row, one, without_group))
        seen = [timed[place] for place in key]
        alike = _alike(row, seen)
        if not alike:
            continue
        if key not in learned:
            learned[key] = learn_prices([_run(one) for one in seen])
        share = float(np.median([_peak_s(one) / (one.step_s or 1.0) for one in alike]))
        constant = _peak_s(row) / share
        priced = learned[key].step_s(row.job, row.layout, row.policy)
        cases.append(
            TimeCase(
                row.id, " on ".join(row.group), bool(row.job.model.experts),
                row.job.has_expert_axis, row.step_s, float(np.sqrt(priced * constant)), priced,
                constant, Prices({}).step_s(row.job, row.layout, row.policy),
            )
        )  # fmt: skip
    return cases


def _is_told_by(row: Published, other: Published, without_group: bool) -> bool:
    mine, others = row.job.model, other.job.model
    if mine.name == others.name or is_same_shape(mine, others):
        return True
    return without_group and (row.group == other.group or is_same_group(row.job, other.job))


def _run(row: Published) -> TimedRun:
    return TimedRun(row.job, row.layout, row.policy, row.step_s or 0.0)


def _alike(row: Published, seen: Sequence[Published]) -> list[Published]:
    """Return rows of the same chip, else kind; of the same sort of model where there are any."""
    chip, is_moe = row.job.place.chip, bool(row.job.model.experts)
    by_chip = [one for one in seen if one.job.place.chip.name == chip.name]
    found = by_chip or [one for one in seen if one.job.place.chip.kind == chip.kind]
    same = [one for one in found if bool(one.job.model.experts) == is_moe]
    return same or found


def _peak_s(row: Published) -> float:
    """Return the seconds that a step's FLOPs would take at the peak of the chip."""
    job = row.job
    chip, work = job.place.chip, job.workload
    flops = job.model.train_flops(work.seq_len, is_causal=False) * work.tokens
    return flops / (job.place.chips * chip.rate(work.compute))

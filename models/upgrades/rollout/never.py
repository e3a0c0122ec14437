"""Which tasks no later plan under the same windows, caps and releases could place either."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.config import DAY_S
from models.upgrades.fleet.base import NO_RELEASE, Fleet
from models.upgrades.plan import RefusalReason, RolloutPlan
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.waves import wave_quotas, wave_table
from models.upgrades.schedule.base import NONE
from models.upgrades.schedule.precedence import predecessors

_FOR_GOOD = (
    *(RefusalReason.NEEDS_LONGER_WINDOW, RefusalReason.DOES_NOT_PAY),
    *(RefusalReason.EXCLUDED, RefusalReason.DEADLINE),
)

Mask = NDArray[np.bool_]


def never_placed(plan: RolloutPlan, fleet: Fleet, config: RolloutConfig) -> Mask:
    """Refused tasks for which more days are no remedy, shape (n_refusals,).

    These are tasks that need a longer window, do not pay, are excluded, have a deadline
    within the horizon or a stopped release; and what waits behind one of them: later types
    on its host, and waves after one that cannot reach its quorum without it.
    """
    refused = plan.refusals
    deadline_s = fleet.backlog.set_index("task")["deadline_s"].reindex(refused["task"])
    is_final = refused["reason"].isin([str(reason) for reason in _FOR_GOOD])
    is_stopped = (refused["reason"] == RefusalReason.WAVE_GATE) & (refused["wave"] == NONE)
    is_due = deadline_s.to_numpy(np.int64) <= plan.plan_s + config.horizon_days * DAY_S
    is_never: Mask = (is_final | is_stopped).to_numpy(bool) | is_due
    behind, waves = _behind(refused, fleet), _wave_sizes(plan, fleet, config)
    first, later = (behind[name].to_numpy(np.int64) for name in behind.columns)
    while True:
        found = is_never.copy()
        found[later[is_never[first]]] = True
        found |= _short_waves(refused, found, waves, config)
        if (found == is_never).all():
            return is_never
        is_never = found


def _behind(refused: pd.DataFrame, fleet: Fleet) -> pd.DataFrame:
    """Pairs of refused tasks of one host: `later` must wait for `first`; row numbers."""
    waits = pd.DataFrame(
        [(a, b) for b, firsts in predecessors(fleet.after).items() for a in firsts],
        columns=["type_first", "type"],
    )
    tasks = refused[["host", "type"]].assign(later=np.arange(len(refused)))
    firsts = tasks.rename(columns={"type": "type_first", "later": "first"})
    pairs = tasks.merge(waits.astype(object), on="type").merge(firsts, on=["host", "type_first"])
    return pairs[["first", "later"]]


def _wave_sizes(plan: RolloutPlan, fleet: Fleet, config: RolloutConfig) -> pd.Series:
    """Hosts of each wave, done ones included, by type, release and wave."""
    columns = ["type", "release", "wave"]
    tasks = pd.concat([plan.assignments[columns], plan.refusals[columns]], ignore_index=True)
    in_waves = tasks[tasks["wave"] != NONE]
    counts = in_waves.groupby(columns[:2]).size()
    table = wave_table(fleet, fleet.tasks, plan.plan_s)
    sizes = {}
    for key, ends_s in zip(table.keys, table.done_end_s, strict=True):
        reached = wave_quotas(len(ends_s) + int(counts.get(key, 0)), config)
        for wave, size in enumerate(np.diff(reached, prepend=0).tolist()):
            sizes[(*key, wave)] = size
    index = pd.MultiIndex.from_tuples(list(sizes), names=columns) if sizes else None
    return pd.Series(list(sizes.values()), index=index, dtype=np.int64)


def _short_waves(
    refused: pd.DataFrame, is_never: Mask, waves: pd.Series, config: RolloutConfig
) -> Mask:
    """Refused tasks of waves after one that has too few tasks left to reach its quorum."""
    has_wave = ((refused["wave"] != NONE) & ~refused["release"].isin(NO_RELEASE)).to_numpy(bool)
    if waves.empty or not has_wave.any():
        return np.zeros(len(refused), dtype=bool)
    lost = refused[is_never & has_wave].groupby(["type", "release", "wave"]).size()
    lost = lost.reindex(waves.index, fill_value=0)
    needed = np.ceil(np.round(config.wave_quorum * waves, 9))
    short = waves.index[(waves - lost < needed).to_numpy(bool)].to_frame(index=False)
    first = short.groupby(["type", "release"])["wave"].min().rename("short")
    after = refused[["type", "release", "wave"]].merge(
        first, how="left", left_on=["type", "release"], right_index=True
    )
    return np.asarray((after["wave"] > after["short"]).to_numpy(bool) & has_wave, dtype=np.bool_)

"""Which recorded runs are old enough to go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from models.retention.config import CleanUpConfig

KEEP_TAG = "keep"
"""Tag that keeps a run for good, whatever its value but `false`."""
DAY_S = 86_400


@dataclass(frozen=True)
class RecordedRun:
    """A run as a tracking store lists it."""

    id: str
    name: str
    experiment: str
    started_s: float
    """Seconds since 1970."""
    ended_s: float | None
    """None: it goes on."""
    parent: str | None = None
    """Run that it belongs to."""
    is_marked: bool = False
    """Whether somebody set `KEEP_TAG`."""


def old_runs(
    runs: Iterable[RecordedRun], needed: Collection[str], config: CleanUpConfig, now_s: float
) -> list[RecordedRun]:
    """Return the runs that go, the oldest first.

    A run and those that belong to it stay or go together: they stay where one of them is marked,
    goes on, ended lately or is among those that `needed` names.

    Args:
        runs: All of a store that were not removed already.
        needed: Ids that something else refers to, such as registered models.
        config: How old is old, and how many stay anyway.
        now_s: Seconds since 1970.
    """
    known = {run.id: run for run in runs}
    families: dict[str, list[RecordedRun]] = defaultdict(list)
    for run in known.values():
        families[_head(run, known)].append(run)
    limit_s = now_s - config.days * DAY_S

    def may_go(run: RecordedRun) -> bool:
        is_old = run.ended_s is not None and run.ended_s < limit_s
        return is_old and not run.is_marked and run.id not in needed

    newest: set[str] = set()
    by_experiment: dict[str, list[RecordedRun]] = defaultdict(list)
    for head in families:
        by_experiment[known[head].experiment].append(known[head])
    for heads in by_experiment.values():
        heads.sort(key=lambda run: -run.started_s)
        newest |= {run.id for run in heads[: config.keep_newest]}
    gone = [
        run
        for head, family in families.items()
        if head not in newest and all(map(may_go, family))
        for run in family
    ]
    return sorted(gone, key=lambda run: (run.started_s, run.id))


def _head(run: RecordedRun, known: dict[str, RecordedRun]) -> str:
    """Return the run at the top of a family; a parent that is gone leaves its child at the top."""
    seen = {run.id}
    while run.parent is not None and run.parent in known and run.parent not in seen:
        run = known[run.parent]
        seen.add(run.id)
    return run.id

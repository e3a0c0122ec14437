"""What a simulation plays: durations and failures of the tasks of a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError, NotEnoughDataError
from models.upgrades.execute.base import Work
from models.upgrades.execute.plan_file import PlanFile
from models.upgrades.history import History

# Of the tasks of a plan that was made from a history: the history that they come from has all
# of them, another one a few by chance, since every history numbers its events from 0.
OWN_SHARE = 0.5


class HistoryMismatchError(DataError):
    """A history that says nothing about the tasks of a plan."""


def refuse_other_history(plan: PlanFile, history: History, source: str) -> None:
    """Let no plan be simulated with the durations of another fleet.

    Args:
        plan: What is simulated.
        history: Where its durations would come from.
        source: How that history is called in the message.

    Raises:
        HistoryMismatchError: The plan was made from a history and this one lacks most of its
            tasks; or it was made for a fleet, and none of its types ever occurred here.
    """
    if not plan.works:
        return
    types = {work.type for work in plan.works}
    if plan.is_of_fleet:
        known = set(history.labels("type"))
        if types & known:
            return
        found = f"none of its {len(types)} types ({', '.join(sorted(types)[:3])}) occurs in it"
    else:
        events = history.events
        keys = set(zip(events["event_id"], events["host_id"], events["type"], strict=True))
        n_found = sum((work.task, work.host, work.type) in keys for work in plan.works)
        if n_found >= OWN_SHARE * len(plan.works):
            return
        found = f"it holds {n_found} of its {len(plan.works)} tasks"
    raise HistoryMismatchError(
        f"asked to simulate a plan with the history {source}, but {found}: the plan was made "
        "from another one; name that one (config key `data`, and `mapping` if it has one), or "
        "leave `data` out and name the planning run (`plan_run`)"
    )


def task_durations(
    works: Iterable[Work], history: History, plan_s: int, *, is_true: bool, seed: int
) -> Mapping[str, float]:
    """Durations for a simulation, in seconds, by task.

    Args:
        works: Placed tasks.
        history: Events; a task of the history is found by its event id, host and type.
        plan_s: When the plan was made: only what had ended by then is drawn from.
        is_true: Take the recorded duration where the history has one.
        seed: Seed of the draws; a task's draw does not depend on the other tasks.

    Raises:
        NotEnoughDataError: A duration must be drawn and nothing had ended.
    """
    events = history.events
    recorded: dict[tuple[str, str, str], float] = {}
    if is_true:
        # Host and type too: every history numbers its events from 0.
        keys = zip(events["event_id"], events["host_id"], events["type"], strict=True)
        recorded = dict(zip(keys, events["duration_s"].astype(float), strict=True))
    past = events[(events["end_s"] <= plan_s) & ~events["is_censored"]]
    # Sorted once: a plan of 100,000 tasks draws as often from one sample.
    all_s = np.sort(past["duration_s"].to_numpy(float))
    by_type = {
        str(type_): np.sort(part.to_numpy(float)) for type_, part in past.groupby("type").duration_s
    }
    durations: dict[str, float] = {}
    for work in works:
        key = (work.task, work.host, work.type)
        if key in recorded:
            durations[work.task] = recorded[key]
            continue
        known_s = by_type.get(work.type, all_s)
        if not len(known_s):
            raise NotEnoughDataError(
                f"nothing had ended by {plan_s}, so no duration of {work.task} can be drawn; "
                "give a history that is older than the plan (config key `data`)"
            )
        durations[work.task] = _quantile(known_s, _uniform(seed, "duration", work.task))
    return durations


def _quantile(sorted_s: NDArray[np.float64], level: float) -> float:
    """Quantile of a sorted sample, linear between its values, as `numpy.quantile` has it."""
    place = level * (len(sorted_s) - 1)
    low = int(place)
    high = min(low + 1, len(sorted_s) - 1)
    return float(sorted_s[low] + (place - low) * (sorted_s[high] - sorted_s[low]))


def simulated_failures(works: Iterable[Work], share: float, seed: int) -> frozenset[str]:
    """Tasks that fail: about `share` of them, each decided by seed and name alone."""
    return frozenset(w.task for w in works if _uniform(seed, "failure", w.task) < share)


def _uniform(seed: int, what: str, task: str) -> float:
    digest = hashlib.sha256(f"{seed}/{what}/{task}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

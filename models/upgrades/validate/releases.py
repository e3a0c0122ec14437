"""Check the waves of each release: sizes, order, soak, quorum, gate."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd

from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import RefusalReason, RolloutPlan
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.validate.base import Violation

# Only these keep a task out of every wave, since no plan could place it.
_OUTSIDE = {
    reason.value
    for reason in (
        *(RefusalReason.EXCLUDED, RefusalReason.NEEDS_LONGER_WINDOW, RefusalReason.FREEZE),
        *(RefusalReason.DEADLINE, RefusalReason.DOES_NOT_PAY, RefusalReason.NO_CAPACITY),
        RefusalReason.WAVE_GATE,
    )
}


def check_releases(plan: RolloutPlan, fleet: Fleet, config: RolloutConfig) -> Iterator[Violation]:
    """Check every (type, release) that has tasks in the plan."""
    past = _past(fleet, plan.plan_s)
    columns = ["task", "type", "release", "wave"]
    placed = plan.assignments[[*columns, "start_s", "end_s"]]
    # Without a place a task never starts and never ends.
    refused = plan.refusals[columns].assign(start_s=np.inf, end_s=-np.inf)
    tasks = pd.concat([placed, refused], ignore_index=True)
    tasks = tasks[~tasks["release"].isin(["", "unknown"])]
    outside = plan.refusals[plan.refusals["wave"] < 0]
    outside = outside[outside["release"].isin(tasks["release"])]
    for task, reason in zip(outside["task"], outside["reason"], strict=True):
        if reason not in _OUTSIDE:
            yield Violation("wave size", (task,), f"in no wave, though refused for {reason!r}")
    for key, group in tasks.groupby(["type", "release"]):
        type_, release = str(key[0]), str(key[1])
        events = past[(past["type"] == type_) & (past["release"] == release)]
        is_done = events["outcome"] == "completed"
        yield from _check_gate(group, len(events), int((~is_done).sum()), config, release)
        done_s = np.sort(events[is_done].groupby("host_id")["ended_s"].min().to_numpy(float))
        yield from _Release(group, done_s, config, f"{type_} {release}").check()


def _check_gate(
    group: pd.DataFrame, n_ended: int, n_failed: int, config: RolloutConfig, release: str
) -> Iterator[Violation]:
    limit = config.gate_failure_share * n_ended
    started = group[np.isfinite(group["start_s"])]
    if len(started) and n_ended >= config.gate_min_ended and n_failed > limit:
        detail = f"{release} failed on {n_failed} of {n_ended} hosts, at most {limit:g}"
        yield Violation("wave gate", tuple(started["task"]), detail)


class _Release:
    """One (type, release): its tasks with and without a place, and the hosts that have it."""

    def __init__(
        self, group: pd.DataFrame, done_s: np.ndarray, config: RolloutConfig, name: str
    ) -> None:
        self._placed = group[np.isfinite(group["start_s"])]
        self._members = group[(group["wave"] >= 0) | np.isfinite(group["start_s"])]
        self._done_s, self._config, self._name = done_s, config, name
        n_hosts = len(done_s) + len(self._members)
        reached = [min(config.canary_hosts, n_hosts)]
        for share in config.wave_shares:
            # Rounded first: 0.07 * 100 is 7.000000000000001.
            least = min(n_hosts, math.ceil(round(share * n_hosts, 9)))
            reached.append(max(reached[-1], least))
        self._reached = reached

    def check(self) -> Iterator[Violation]:
        """Size, soak and quorum of each wave."""
        n_done = len(self._done_s)
        for wave, rows in self._members.groupby("wave"):
            number = int(str(wave))
            if not 0 <= number < len(self._reached):
                detail = f"{self._name} has no wave {number}"
                yield Violation("wave size", tuple(rows["task"]), detail)
                continue
            so_far = int((self._members["wave"] <= number).sum()) + n_done
            if so_far > self._reached[number]:
                detail = (
                    f"{so_far} hosts by wave {number} of {self._name}, "
                    f"at most {self._reached[number]}"
                )
                yield Violation("wave size", tuple(rows["task"]), detail)
            started = rows[np.isfinite(rows["start_s"])]
            if number and len(started):
                yield from self._check_soak(number, started)
                yield from self._check_quorum(number, started)

    def _check_soak(self, wave: int, started: pd.DataFrame) -> Iterator[Violation]:
        before = self._placed[self._placed["wave"] < wave]
        ends_s = [*before["end_s"], *self._done_s[: self._reached[wave - 1]]]
        ready_s = max(ends_s, default=-math.inf) + self._config.soak_s
        early = started[started["start_s"] < ready_s]
        if len(early):
            detail = (
                f"wave {wave} of {self._name} starts before {ready_s}, the soaked end of others"
            )
            yield Violation("wave soak", tuple(early["task"]), detail)

    def _check_quorum(self, wave: int, started: pd.DataFrame) -> Iterator[Violation]:
        first = 0
        for before, until in enumerate(self._reached[:wave]):
            ended = max(0, min(until, len(self._done_s)) - first)
            needed = math.ceil(round(self._config.wave_quorum * (until - first), 9))
            found = ended + int((self._placed["wave"] == before).sum())
            if found < needed:
                detail = f"{found} of wave {before} of {self._name} have a place, {needed} must"
                yield Violation("wave quorum", tuple(started["task"]), detail)
            first = until


def _past(fleet: Fleet, plan_s: int) -> pd.DataFrame:
    ended = pd.to_datetime(fleet.events["ended"])
    seconds = (ended - pd.Timestamp(0)).dt.total_seconds().astype(np.float64)
    return fleet.events.assign(ended_s=seconds)[seconds <= plan_s]

"""Propose start times at which runs wait less, from how long they are expected to take."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from models.upgrades.config import DAY_S
from models.upgrades.run_times.changes import ScheduleChange
from models.upgrades.run_times.config import ForecastRunsConfig
from models.upgrades.run_times.cron import due_times, zone_of
from models.upgrades.run_times.deployment import WEEK_S, Deployment, ReadSchedule, read_schedules
from models.upgrades.run_times.search import Pair, Problem, Trial, search
from models.upgrades.run_times.timeline import Line


@dataclass(frozen=True)
class Proposal:
    """The coming week as it is scheduled, and as it could be.

    Attributes:
        from_s: First midnight (UTC) of the week, seconds since 1970.
        lines: Deployment of each schedule, in order.
        now: The present schedule.
        best: The proposed one; the same where nothing helps.
        changes: What would be written.
        reasons: Per change, why.
        notes: What a reader must know, a sentence each.
    """

    from_s: int
    lines: tuple[str, ...]
    now: Trial
    best: Trial
    changes: tuple[ScheduleChange, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    def runs(self, trial: Trial) -> pd.DataFrame:
        """Runs of the week: deployment, due_s, start_s, end_s, wait_s (NaN: cancelled)."""
        rows = [
            (self.lines[span.line], span.due_s, span.start_s, span.end_s, span.wait_s)
            for own in trial.spans
            for span in own
        ]
        frame = pd.DataFrame(rows, columns=["deployment", "due_s", "start_s", "end_s", "wait_s"])
        within = frame["due_s"].between(self.from_s, self.from_s + WEEK_S, inclusive="left")
        return frame[within].sort_values("due_s", kind="stable", ignore_index=True)

    def moves(self) -> pd.DataFrame:
        """Proposed moves for people: deployment, schedule, now, proposed, why."""
        rows = [
            (change.deployment, change.slug, change.before, change.after, change.timezone, reason)
            for change, reason in zip(self.changes, self.reasons, strict=True)
        ]
        names = ["deployment", "schedule", "now", "proposed", "clock", "why"]
        return pd.DataFrame(rows, columns=names)


def propose_schedule(
    deployments: Sequence[Deployment],
    reserved_s: Mapping[str, int],
    pool_limits: Mapping[str, int | None],
    as_of_s: int,
    config: ForecastRunsConfig,
) -> Proposal:
    """Look for start times within `most_shift_min` at which fewer runs wait.

    Every run is taken to last its reserved time. Only schedules of our own deployments with
    one start time a day are moved, and none before what it comes after. The week begins
    with the last midnight; the day before it is played too, for what is still busy then.

    Args:
        deployments: What is scheduled.
        reserved_s: Deployment -> seconds that a run is given; others get `unknown_s`.
        pool_limits: Work pool -> its limit; None: it has none.
        as_of_s: Now, seconds since 1970.
        config: Bounds, order, limits.
    """
    read, notes = read_schedules(deployments)
    from_s = as_of_s // DAY_S * DAY_S
    due_s = [
        due_times(s.cron, zone_of(s.schedule.timezone), from_s - DAY_S, from_s + WEEK_S)
        for s in read
    ]
    lines = [_line(s, reserved_s, config) for s in read]
    limits, said = _limits(read, pool_limits, config)
    problem = Problem(
        lines,
        due_s,
        [[at >= from_s for at in times] for times in due_s],
        limits,
        [_allowed(s, config) for s in read],
        _pairs(read, due_s, config),
        config.step_min,
    )
    now, best, is_spent = search(problem)
    if is_spent:
        notes.append("the search was cut short: a better schedule may exist")
    unknown = sorted({s.deployment.name for s in read} - set(reserved_s))
    if unknown:
        notes.append(
            f"no finished run of {', '.join(unknown)}: {config.unknown_s} s assumed (`unknown_s`)"
        )
    notes += _unknown_order(deployments, config)
    moved = [place for place, shift in enumerate(best.shifts) if shift]
    return Proposal(
        from_s,
        tuple(line.name for line in lines),
        now,
        best,
        tuple(_change(read[place], best.shifts[place]) for place in moved),
        tuple(_reason(place, lines, now, best) for place in moved),
        (*said, *notes),
    )


def _line(read: ReadSchedule, reserved_s: Mapping[str, int], config: ForecastRunsConfig) -> Line:
    deployment = read.deployment
    own = f"deployment {deployment.name}" if deployment.limit is not None else ""
    pool = f"pool {deployment.work_pool}" if deployment.work_pool else ""
    return Line(
        deployment.name,
        max(reserved_s.get(deployment.name, config.unknown_s), 1),
        tuple(key for key in (pool, own) if key),
        own,
        deployment.cancels_new,
    )


def _limits(
    read: Sequence[ReadSchedule],
    pool_limits: Mapping[str, int | None],
    config: ForecastRunsConfig,
) -> tuple[dict[str, int], list[str]]:
    limits: dict[str, int] = {}
    notes = []
    for pool in sorted({s.deployment.work_pool for s in read if s.deployment.work_pool}):
        known = [n for n in (pool_limits.get(pool), config.at_once) if n is not None]
        if not known:
            notes.append(
                f"work pool {pool} has no limit: its runs would share the cores instead of "
                "waiting, and are counted as one at a time (`at_once` says otherwise)"
            )
        limits[f"pool {pool}"] = min(known, default=1)
    for read_schedule in read:
        deployment = read_schedule.deployment
        if deployment.limit is not None:
            limits[f"deployment {deployment.name}"] = deployment.limit
    return limits, notes


def _allowed(read: ReadSchedule, config: ForecastRunsConfig) -> list[int]:
    if not read.deployment.is_ours(config.tags):
        return [0]
    most = config.most_shift_min // config.step_min
    shifts = [steps * config.step_min for steps in range(-most, most + 1)]
    return [shift for shift in shifts if shift == 0 or read.cron.shifted(shift) is not None]


def _pairs(
    read: Sequence[ReadSchedule], due_s: Sequence[Sequence[int]], config: ForecastRunsConfig
) -> list[Pair]:
    """Each run with the last run, at most a day earlier, of what it comes after."""
    pairs: list[Pair] = []
    for line, schedule in enumerate(read):
        for name in schedule.deployment.after(config.after):
            firsts = sorted(
                (at, other, run)
                for other, times in enumerate(due_s)
                if read[other].deployment.name == name and other != line
                for run, at in enumerate(times)
            )
            for run, at in enumerate(due_s[line]):
                place = bisect.bisect_right(firsts, (at, len(read), 0)) - 1
                if place >= 0 and at - firsts[place][0] < DAY_S:
                    _, other, earlier = firsts[place]
                    pairs.append(((other, earlier), (line, run)))
    return pairs


def _unknown_order(deployments: Sequence[Deployment], config: ForecastRunsConfig) -> list[str]:
    """Say which names of `after` no deployment has; silent where none of the two is there."""
    names = {deployment.name for deployment in deployments}
    return [
        f"{deployment.name} comes after {first}, which is not deployed"
        for deployment in deployments
        for first in deployment.after(config.after)
        if first not in names
    ]


def _change(read: ReadSchedule, shift_min: int) -> ScheduleChange:
    after = read.cron.shifted(shift_min)
    assert after is not None  # only such shifts are allowed
    return ScheduleChange(
        deployment=read.deployment.name,
        deployment_id=read.deployment.id,
        schedule_id=read.schedule.id,
        slug=read.schedule.slug,
        timezone=read.schedule.timezone,
        day_or=read.schedule.day_or,
        before=read.schedule.cron,
        after=after,
    )


def _reason(place: int, lines: Sequence[Line], now: Trial, best: Trial) -> str:
    minutes = best.shifts[place]
    moved = f"{abs(minutes)} min {'later' if minutes > 0 else 'earlier'}"
    own = [span for span in now.spans[place] if span.wait_s or span.start_s is None]
    behind = sorted({lines[line].name for span in own for line in span.behind})
    if behind:
        longest = max(span.wait_s for span in own)
        return f"{moved}: waits up to {longest / 60:.0f} min behind {', '.join(behind)}"
    held = {span.line for spans in now.spans for span in spans if place in span.behind}
    if held:
        return f"{moved}: in the way of {', '.join(sorted({lines[line].name for line in held}))}"
    firsts = sorted({lines[a].name for (a, _), (b, _) in now.late if b == place})
    if firsts:
        return f"{moved}: starts before {', '.join(firsts)} has ended"
    seconds = sorted({lines[b].name for (a, _), (b, _) in now.late if a == place})
    return f"{moved}: before {', '.join(seconds)}" if seconds else f"{moved}: makes room"

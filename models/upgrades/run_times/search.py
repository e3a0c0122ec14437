"""Look for start times at which nobody waits: one schedule moved at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from models.upgrades.run_times.timeline import Line, Span, simulate

MOST_TRIALS = 3_000
"""Timelines that are tried; 20 daily schedules of a week take some milliseconds each."""

Shifts = tuple[int, ...]
"""Minutes by which each line is moved."""
Pair = tuple[tuple[int, int], tuple[int, int]]
"""(line, run) that must have ended before (line, run) starts."""


@dataclass(frozen=True)
class Problem:
    """What is to be arranged.

    Attributes:
        lines: Schedules.
        due_s: When the runs of each are due now, seconds since 1970, per line and run.
        is_counted: Whether a run counts; the others only show who is still busy.
        limits: Key -> runs at a time.
        allowed: Minutes by which each line may be moved, 0 among them.
        pairs: Runs that come after others.
        step_min: Greatest common step of `allowed`.
    """

    lines: Sequence[Line]
    due_s: Sequence[Sequence[int]]
    is_counted: Sequence[Sequence[bool]]
    limits: Mapping[str, int]
    allowed: Sequence[Sequence[int]]
    pairs: Sequence[Pair]
    step_min: int

    def due_at(self, shifts: Shifts) -> list[list[int]]:
        """Return when runs are due after the move."""
        return [
            [at + shift * 60 for at in times]
            for times, shift in zip(self.due_s, shifts, strict=True)
        ]


@dataclass(frozen=True)
class Trial:
    """One arrangement and what it leads to.

    Attributes:
        shifts: Minutes by which each line is moved.
        spans: Runs per line.
        waits: Counted runs that wait or are cancelled.
        wait_s: Seconds that counted runs wait.
        late: Pairs whose second run starts before the first has ended.
        swapped: Pairs whose second run is due before the first.
    """

    shifts: Shifts
    spans: list[list[Span]]
    waits: int
    wait_s: int
    late: frozenset[Pair]
    swapped: frozenset[Pair]

    @property
    def order(self) -> tuple[int, int, int, int]:
        """What is better comes first: order kept, nobody waits, little is moved."""
        moved = sum(abs(shift) for shift in self.shifts)
        return len(self.late), self.waits, self.wait_s, moved


def try_shifts(problem: Problem, shifts: Shifts) -> Trial:
    """Play a timeline and count."""
    spans = simulate(problem.lines, problem.due_at(shifts), problem.limits)
    waits = wait_s = 0
    for own, counted in zip(spans, problem.is_counted, strict=True):
        for span, is_counted in zip(own, counted, strict=True):
            if is_counted and (span.wait_s or span.start_s is None):
                waits += 1
                wait_s += span.wait_s
    late, swapped = set(), set()
    for pair in problem.pairs:
        first, second = (spans[line][run] for line, run in pair)
        if second.due_s < first.due_s:
            swapped.add(pair)
        if first.end_s is not None and second.start_s is not None and second.start_s < first.end_s:
            late.add(pair)
    return Trial(shifts, spans, waits, wait_s, frozenset(late), frozenset(swapped))


def search(problem: Problem) -> tuple[Trial, Trial, bool]:
    """Return the present arrangement, the best that was found, and whether trials ran out.

    Nothing that keeps its order now loses it. Two starts: the present one, and one in
    which the schedules are put in one after the other; each goes down to where no single
    move helps any more.
    """
    now = try_shifts(problem, (0,) * len(problem.lines))
    budget = _Budget(MOST_TRIALS)
    best = _descend(problem, now, now, budget)
    if best.order[:3] != (0, 0, 0):
        other = _one_by_one(problem, now, budget)
        if _keeps_order(other, now):
            best = min(best, _descend(problem, other, now, budget), key=lambda trial: trial.order)
    return now, best, budget.is_spent


class _Budget:
    def __init__(self, most: int) -> None:
        self.left = most

    @property
    def is_spent(self) -> bool:
        return self.left <= 0

    def try_shifts(self, problem: Problem, shifts: Shifts) -> Trial:
        self.left -= 1
        return try_shifts(problem, shifts)


def _keeps_order(trial: Trial, now: Trial) -> bool:
    return trial.late <= now.late and trial.swapped <= now.swapped


def _descend(problem: Problem, begin: Trial, now: Trial, budget: _Budget) -> Trial:
    best = begin
    while best.order[:3] != (0, 0, 0) or any(best.shifts):
        better = best
        for shifts in _neighbours(problem, best):
            if budget.is_spent:
                break
            trial = budget.try_shifts(problem, shifts)
            if trial.order < better.order and _keeps_order(trial, now):
                better = trial
        if better is best:
            break
        best = better
    return best


def _neighbours(problem: Problem, trial: Trial) -> Iterator[Shifts]:
    """Move one schedule that waits, is waited for, is out of order or was moved before."""
    involved = {line for line, shift in enumerate(trial.shifts) if shift}
    involved |= {line for pair in trial.late for line, _ in pair}
    for own, counted in zip(trial.spans, problem.is_counted, strict=True):
        for span, is_counted in zip(own, counted, strict=True):
            if is_counted and (span.wait_s or span.start_s is None):
                involved |= {span.line, *span.behind}
    for line in sorted(involved):
        # The smallest moves first: of equals the first is kept.
        for shift in sorted(problem.allowed[line], key=lambda minutes: (abs(minutes), minutes)):
            if shift != trial.shifts[line]:
                yield _pushed(problem, _with(trial.shifts, line, shift), line)


def _with(shifts: Shifts, line: int, shift: int) -> Shifts:
    return (*shifts[:line], shift, *shifts[line + 1 :])


def _pushed(problem: Problem, shifts: Shifts, moved: int) -> Shifts:
    """Move what comes after the moved schedule along, as far as its order needs it."""
    todo, seen = [moved], {moved}
    while todo:
        line = todo.pop()
        for second in sorted({b for (a, _), (b, _) in problem.pairs if a == line} - seen):
            seen.add(second)
            short_s = max(
                problem.due_s[a][m]
                + 60 * shifts[a]
                + problem.lines[a].took_s
                - (problem.due_s[b][k] + 60 * shifts[b])
                for (a, m), (b, k) in problem.pairs
                if b == second
            )
            if short_s <= 0:
                continue
            steps = math.ceil(short_s / (60 * problem.step_min))
            wanted = shifts[second] + steps * problem.step_min
            later = [shift for shift in problem.allowed[second] if shift >= wanted]
            if later:
                shifts = _with(shifts, second, min(later))
                todo.append(second)
    return shifts


def _one_by_one(problem: Problem, now: Trial, budget: _Budget) -> Trial:
    """Put the schedules in by their first due time, each where it makes least wait."""
    movable = [line for line, allowed in enumerate(problem.allowed) if len(allowed) > 1]
    movable.sort(key=lambda line: (min(problem.due_s[line], default=0), line))
    absent = set(movable)
    shifts = now.shifts
    for line in movable:
        absent.discard(line)
        part = _without(problem, absent)
        best: Trial | None = None
        for shift in sorted(problem.allowed[line], key=lambda minutes: (abs(minutes), minutes)):
            if budget.is_spent:
                break
            trial = budget.try_shifts(part, _with(shifts, line, shift))
            if best is None or trial.order < best.order:
                best = trial
        shifts = shifts if best is None else best.shifts
    return try_shifts(problem, shifts)


def _without(problem: Problem, absent: set[int]) -> Problem:
    keep = [line not in absent for line in range(len(problem.lines))]
    return Problem(
        problem.lines,
        [times if kept else [] for times, kept in zip(problem.due_s, keep, strict=True)],
        [counts if kept else [] for counts, kept in zip(problem.is_counted, keep, strict=True)],
        problem.limits,
        problem.allowed,
        [p for p in problem.pairs if p[0][0] not in absent and p[1][0] not in absent],
        problem.step_min,
    )

"""What is placed so far: free gaps of lanes, hosts down per service, hosts, waves.

One task at a time, in plain integers and lists: numpy costs a microsecond per call, and a
place is found in a few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from models.upgrades.schedule.base import NEVER_S, NONE, Ints, Problem

# Hosts down are counted on this grid, widened outwards, so a cap is never exceeded inside it.
STEP_S = 60


class Slot(NamedTuple):
    """A place: window, lane, start and the latest moment to begin a rollback, seconds."""

    window: int
    lane: int
    start_s: int
    latest_s: int


class Gap(NamedTuple):
    """Free time of a lane, seconds of the local clock."""

    from_s: int
    until_s: int
    lane: int


class Board:
    """Places of tasks under the rules of a problem; every `find` can be `put`."""

    def __init__(self, problem: Problem) -> None:
        tasks = problem.tasks
        self.problem = problem
        self.slots: dict[int, Slot] = {}
        self.n_windows = problem.opens_s.shape[1]
        self._opens_s: list[list[int]] = problem.opens_s.tolist()
        self._window_s: list[int] = problem.window_s.tolist()
        self._lanes: list[int] = problem.lanes.tolist()
        self.domain: list[int] = tasks.domain.tolist()
        self.service: list[int] = tasks.service.tolist()
        self._pair: list[int] = tasks.pair.tolist()
        self._type: list[int] = tasks.type.tolist()
        self.reserved_s: list[int] = tasks.reserved_s.tolist()
        self.rollback_s: list[int] = tasks.rollback_s.tolist()
        self._ready_s: list[int] = tasks.ready_s.tolist()
        self._deadline_s: list[int] = tasks.deadline_s.tolist()
        self._pin: list[int] = tasks.pin.tolist()
        self.group: list[int] = tasks.group.tolist()
        self.wave: list[int] = tasks.wave.tolist()
        self._gaps = [
            [self._empty(domain, window) for window in range(self.n_windows)]
            for domain in range(len(self._lanes))
        ]
        self._longest_s = [[length] * self.n_windows for length in self._window_s]
        self.siblings = _siblings(tasks.host)
        self._origin_s: int = int(problem.opens_s.min()) // STEP_S * STEP_S
        end_s = int((problem.opens_s[:, -1] + problem.window_s).max())
        n_steps = -(-(end_s - self._origin_s) // STEP_S)
        self.down = np.zeros((len(problem.caps), n_steps), dtype=np.int32)
        self.caps: list[int] = problem.caps.tolist()
        self.can_bind = _binding_services(problem)
        waves = problem.waves
        self.soak_s = waves.soak_s
        self._needed = np.ceil(np.round(waves.quorum * waves.size, 9)).astype(int).tolist()
        self._n_in_wave: list[list[int]] = waves.done.tolist()
        self._wave_end_s: list[list[int]] = waves.done_end_s.tolist()
        self._wave_start_s = np.full(waves.size.shape, NEVER_S).tolist()

    def limits(self, task: int) -> tuple[int, int]:
        """Earliest start and latest reserved end that other placed tasks leave to a task.

        The start is `NEVER_S` if something that must come first has no place.
        """
        from_s, until_s = self._ready_s[task], self._deadline_s[task]
        siblings = self.siblings.get(task, ())
        if siblings:
            ancestors, type_ = self.problem.ancestors, self._type[task]
            for other in siblings:
                slot = self.slots.get(other)
                if self._type[other] in ancestors[type_]:
                    end_s = slot.start_s + self.reserved_s[other] if slot else NEVER_S
                    from_s = max(from_s, end_s)
                elif slot and type_ in ancestors[self._type[other]]:
                    until_s = min(until_s, slot.start_s)
        if self.group[task] != NONE:
            wave_from_s, wave_until_s = self.wave_limits(self.group[task], self.wave[task])
            from_s, until_s = max(from_s, wave_from_s), min(until_s, wave_until_s)
        return from_s, until_s

    def wave_limits(self, group: int, wave: int) -> tuple[int, int]:
        """Earliest start and latest end of a wave, given what else of its group is placed."""
        from_s, until_s = 0, NEVER_S
        ends_s, needed, n_in = self._wave_end_s[group], self._needed[group], self._n_in_wave[group]
        for before in range(wave):
            if n_in[before] < needed[before]:
                return NEVER_S, until_s
            if needed[before]:
                from_s = max(from_s, ends_s[before] + self.soak_s)
        starts_s = self._wave_start_s[group]
        for after in range(wave + 1, len(starts_s)):
            until_s = min(until_s, starts_s[after] - self.soak_s)
        return from_s, until_s

    def find(self, task: int, windows: Iterable[int] | None = None) -> Slot | None:
        """Return the earliest feasible place, in some windows or in all; None: there is none."""
        from_s, until_s = self.limits(task)
        length_s, rollback_s = self.reserved_s[task], self.rollback_s[task]
        if from_s > until_s - length_s:
            return None
        domain, segments = self.domain[task], self.problem.segments[self._pair[task]]
        longest_s, gaps = self._longest_s[domain], self._gaps[domain]
        tried = range(self.n_windows) if windows is None else windows
        for window in tried if self._pin[task] == NONE else (self._pin[task],):
            if longest_s[window] < length_s:
                continue
            for segment_from_s, segment_until_s in segments[window]:
                last_s = min(segment_until_s - rollback_s, until_s) - length_s
                found = self._first_gap(task, gaps[window], max(segment_from_s, from_s), last_s)
                if found is not None:
                    return Slot(window, found[0], found[1], segment_until_s - rollback_s)
        return None

    def find_without_caps(self, task: int) -> Slot | None:
        """Return the place that a task would have if its service had no cap."""
        service, self.can_bind[self.service[task]] = self.can_bind[self.service[task]], False
        try:
            return self.find(task)
        finally:
            self.can_bind[self.service[task]] = service

    def _first_gap(
        self, task: int, gaps: Sequence[Gap], first_s: int, last_s: int
    ) -> tuple[int, int] | None:
        """Lane and start of the earliest place in gaps that are sorted by their begin."""
        length_s = self.reserved_s[task]
        for gap in gaps:
            if gap.from_s > last_s or first_s > last_s:
                return None
            at_s, latest_s = max(first_s, gap.from_s), min(last_s, gap.until_s - length_s)
            if at_s > latest_s:
                continue
            start_s = self.free_from(task, at_s, last_s)
            if start_s <= latest_s:
                # Of the lanes that are free then, the one that would idle least before.
                fits = (g for g in gaps if g.from_s <= start_s <= g.until_s - length_s)
                return (max(fits).lane if start_s > gap.from_s else gap.lane), start_s
            # Later gaps begin no earlier, so the starts that were ruled out stay so.
            first_s = start_s
        return None

    def free_from(self, task: int, first_s: int, last_s: int) -> int:
        """First start from `first_s` on that suits host and service; after `last_s`: none."""
        start_s, length_s = first_s, self.reserved_s[task]
        siblings = self.siblings.get(task, ())
        service = self.service[task]
        while start_s <= last_s:
            later_s = start_s
            for other in siblings:
                slot = self.slots.get(other)
                if slot and slot.start_s < later_s + length_s:
                    end_s = slot.start_s + self.reserved_s[other]
                    later_s = end_s if end_s > later_s else later_s
            if self.can_bind[service]:
                later_s = self._under_cap_from(service, later_s, length_s)
            if later_s == start_s:
                return start_s
            start_s = later_s
        return NEVER_S

    def put(self, task: int, slot: Slot) -> None:
        """Place a task."""
        domain, end_s = self.domain[task], slot.start_s + self.reserved_s[task]
        gaps = self._gaps[domain][slot.window]
        place = next(
            place
            for place, gap in enumerate(gaps)
            if gap.lane == slot.lane and gap.from_s <= slot.start_s and end_s <= gap.until_s
        )
        gap = gaps[place]
        rest = [Gap(gap.from_s, slot.start_s, gap.lane), Gap(end_s, gap.until_s, gap.lane)]
        gaps[place : place + 1] = [piece for piece in rest if piece.from_s < piece.until_s]
        gaps.sort()
        if gap.until_s - gap.from_s == self._longest_s[domain][slot.window]:
            self._measure(domain, slot.window)
        self.slots[task] = slot
        self._count(task, slot.start_s, end_s)
        if self.group[task] != NONE:
            group, wave = self.group[task], self.wave[task]
            self._n_in_wave[group][wave] += 1
            self._wave_end_s[group][wave] = max(self._wave_end_s[group][wave], end_s)
            self._wave_start_s[group][wave] = min(self._wave_start_s[group][wave], slot.start_s)

    def free_gaps(self, domain: int, window: int) -> list[Gap]:
        """Free times of the lanes of a window."""
        return self._gaps[domain][window]

    def arrays(self) -> tuple[Ints, Ints, Ints, Ints]:
        """Window, lane, start and latest of each task, -1 without a place; (n_tasks,) each."""
        table = np.full((len(self.domain), 4), NONE, dtype=np.int64)
        if self.slots:
            table[list(self.slots)] = list(self.slots.values())
        return table[:, 0], table[:, 1], table[:, 2], table[:, 3]

    def _empty(self, domain: int, window: int) -> list[Gap]:
        from_s = self._opens_s[domain][window]
        until_s = from_s + self._window_s[domain]
        return [Gap(from_s, until_s, lane) for lane in range(self._lanes[domain])]

    def _measure(self, domain: int, window: int) -> None:
        gaps = self._gaps[domain][window]
        self._longest_s[domain][window] = max((b - a for a, b, _ in gaps), default=0)

    def _steps(self, start_s: int, end_s: int) -> tuple[int, int]:
        first = (start_s - self._origin_s) // STEP_S
        return first, -(-(end_s - self._origin_s) // STEP_S)

    def _count(self, task: int, start_s: int, end_s: int) -> None:
        if self.can_bind[self.service[task]]:
            first, last = self._steps(start_s, end_s)
            self.down[self.service[task], first:last] += 1

    def _under_cap_from(self, service: int, start_s: int, length_s: int) -> int:
        down, cap = self.down[service], self.caps[service]
        while True:
            first, last = self._steps(start_s, start_s + length_s)
            held = down[first:last]
            if not len(held) or held.max() < cap:
                return start_s
            full = int(np.flatnonzero(held >= cap)[-1])
            start_s = self._origin_s + (first + full + 1) * STEP_S


def _siblings(host: Ints) -> dict[int, tuple[int, ...]]:
    """Other tasks of the same host, for tasks that have any."""
    order = np.argsort(host, kind="stable")
    cuts = np.flatnonzero(np.diff(host[order])) + 1
    found = {}
    for tasks in np.split(order, cuts):
        if len(tasks) > 1:
            members = tasks.tolist()
            for task in members:
                found[task] = tuple(other for other in members if other != task)
    return found


def _binding_services(problem: Problem) -> list[bool]:
    """Whether the lanes of all domains together could exceed the cap of a service."""
    pairs = np.unique(np.column_stack([problem.tasks.service, problem.tasks.domain]), axis=0)
    lanes = np.bincount(
        pairs[:, 0], weights=problem.lanes[pairs[:, 1]], minlength=len(problem.caps)
    )
    return [bool(most > cap) for most, cap in zip(lanes, problem.caps, strict=True)]

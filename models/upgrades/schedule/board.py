"""What is placed so far: free gaps of lanes, hosts down per service, hosts, waves.

One task at a time, in plain integers and lists: numpy costs a microsecond per call, and a
place is found in a few of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from models.upgrades.schedule.base import NEVER_S, NONE, Ints, Problem, TaskArrays
from models.upgrades.schedule.down import Down


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
        self.pair: list[int] = tasks.pair.tolist()
        self._type: list[int] = tasks.type.tolist()
        self.reserved_s: list[int] = tasks.reserved_s.tolist()
        self.rollback_s: list[int] = tasks.rollback_s.tolist()
        self.ready_s: list[int] = tasks.ready_s.tolist()
        self.deadline_s: list[int] = tasks.deadline_s.tolist()
        self.pin: list[int] = tasks.pin.tolist()
        self.group: list[int] = tasks.group.tolist()
        self.wave: list[int] = tasks.wave.tolist()
        self._gaps = [
            [self._empty(domain, window) for window in range(self.n_windows)]
            for domain in range(len(self._lanes))
        ]
        self._longest_s = [[length] * self.n_windows for length in self._window_s]
        self.siblings = _siblings(tasks.host)
        self.down = Down(problem)
        self._unruled = NONE
        waves = problem.waves
        self.soak_s, self.n_waves = waves.soak_s, waves.size.shape[1]
        self._needed = np.ceil(np.round(waves.quorum * waves.size, 9)).astype(int).tolist()
        self._n_in_wave: list[list[int]] = waves.done.tolist()
        self._wave_end_s: list[list[int]] = waves.done_end_s.tolist()
        self._wave_start_s = np.full(waves.size.shape, NEVER_S).tolist()
        self._members: dict[tuple[int, int], list[int]] = {}

    def limits(self, task: int) -> tuple[int, int]:
        """Earliest start and latest reserved end that other placed tasks leave to a task.

        The start is `NEVER_S` if something that must come first has no place.
        """
        from_s, until_s = self.ready_s[task], self.deadline_s[task]
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

    def wave_span(self, group: int, wave: int) -> tuple[int, int]:
        """First start and last end of a wave: `NEVER_S` and 0 where there is none."""
        return self._wave_start_s[group][wave], self._wave_end_s[group][wave]

    def spare(self, group: int, wave: int) -> int:
        """How many of a wave could lose their place without stopping the waves after it."""
        return int(self._n_in_wave[group][wave] - self._needed[group][wave])

    def on_host(self, task: int) -> list[tuple[int, Slot]]:
        """Other tasks of the host that have a place."""
        siblings = self.siblings.get(task, ())
        return [(other, self.slots[other]) for other in siblings if other in self.slots]

    def find(self, task: int, windows: Iterable[int] | None = None) -> Slot | None:
        """Return the earliest feasible place, in some windows or in all; None: there is none."""
        from_s, until_s = self.limits(task)
        length_s, rollback_s = self.reserved_s[task], self.rollback_s[task]
        if from_s > until_s - length_s:
            return None
        domain, segments = self.domain[task], self.problem.segments[self.pair[task]]
        longest_s, gaps = self._longest_s[domain], self._gaps[domain]
        tried = range(self.n_windows) if windows is None else windows
        service, binds = self.service[task], self._binds(task)
        for window in tried if self.pin[task] == NONE else (self.pin[task],):
            if longest_s[window] < length_s:
                continue
            if binds and not self.down.allows(service, domain, window):
                continue
            for segment_from_s, segment_until_s in segments[window]:
                last_s = min(segment_until_s - rollback_s, until_s) - length_s
                found = self._first_gap(task, gaps[window], max(segment_from_s, from_s), last_s)
                if found is not None:
                    return Slot(window, found[0], found[1], segment_until_s - rollback_s)
        return None

    def find_unruled(self, task: int) -> Slot | None:
        """Return the place that a task would have if its service had no rules."""
        self._unruled = self.service[task]
        try:
            return self.find(task)
        finally:
            self._unruled = NONE

    def find_in_any_domain(self, task: int) -> Slot | None:
        """Return the place that a task would have if its service had no rules about domains."""
        self.down.spread_freely = self.service[task]
        try:
            return self.find(task)
        finally:
            self.down.spread_freely = NONE

    def _binds(self, task: int) -> bool:
        service = self.service[task]
        return self.down.can_bind[service] and service != self._unruled

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
        service, domain, binds = self.service[task], self.domain[task], self._binds(task)
        while start_s <= last_s:
            later_s = start_s
            for other in siblings:
                slot = self.slots.get(other)
                if slot and slot.start_s < later_s + length_s:
                    end_s = slot.start_s + self.reserved_s[other]
                    later_s = end_s if end_s > later_s else later_s
            if binds:
                later_s = self.down.free_from(service, domain, later_s, length_s)
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
        self.down.count(self.service[task], domain, slot.window, (slot.start_s, end_s), 1)
        if self.group[task] != NONE:
            group, wave = self.group[task], self.wave[task]
            self._n_in_wave[group][wave] += 1
            self._wave_end_s[group][wave] = max(self._wave_end_s[group][wave], end_s)
            self._wave_start_s[group][wave] = min(self._wave_start_s[group][wave], slot.start_s)

    def remove(self, task: int) -> Slot:
        """Take a task off its place and return the place."""
        slot = self.slots.pop(task)
        domain, end_s = self.domain[task], slot.start_s + self.reserved_s[task]
        gaps = self._gaps[domain][slot.window]
        before = [gap for gap in gaps if gap.lane == slot.lane and gap.until_s == slot.start_s]
        after = [gap for gap in gaps if gap.lane == slot.lane and gap.from_s == end_s]
        for gap in (*before, *after):
            gaps.remove(gap)
        from_s = before[0].from_s if before else slot.start_s
        gaps.append(Gap(from_s, after[0].until_s if after else end_s, slot.lane))
        gaps.sort()
        self._measure(domain, slot.window)
        self.down.count(self.service[task], domain, slot.window, (slot.start_s, end_s), -1)
        group, wave = self.group[task], self.wave[task]
        if group != NONE:
            self._n_in_wave[group][wave] -= 1
            if (
                end_s == self._wave_end_s[group][wave]
                or slot.start_s == (self._wave_start_s[group][wave])
            ):
                self._remeasure(group, wave)
        return slot

    def _remeasure(self, group: int, wave: int) -> None:
        """Find first start and last end of a wave again."""
        if not self._members:
            self._members = _members(self.problem.tasks)
        held = [task for task in self._members.get((group, wave), ()) if task in self.slots]
        ends_s = [self.slots[task].start_s + self.reserved_s[task] for task in held]
        done_s = int(self.problem.waves.done_end_s[group, wave])
        self._wave_end_s[group][wave] = max([done_s, *ends_s])
        starts_s = (self.slots[task].start_s for task in held)
        self._wave_start_s[group][wave] = min(starts_s, default=NEVER_S)

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


def _members(tasks: TaskArrays) -> dict[tuple[int, int], list[int]]:
    """Tasks of each (group, wave)."""
    found: dict[tuple[int, int], list[int]] = {}
    for task in np.flatnonzero(tasks.group != NONE).tolist():
        found.setdefault((int(tasks.group[task]), int(tasks.wave[task])), []).append(task)
    return found

"""Which windows are open to a task on a finished board, and what shuts each of the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from models.upgrades.fleet.base import Fleet
from models.upgrades.rollout.problem import FleetProblem
from models.upgrades.schedule.base import NEVER_S, NONE
from models.upgrades.schedule.board import Board


class Shut(StrEnum):
    """What keeps a task from a window, in the order in which it is asked."""

    PIN = "pin"
    LENGTH = "length"
    ARRIVAL = "arrival"
    DEADLINE = "deadline"
    EARLIER_WAVES = "earlier waves"
    LATER_WAVES = "later waves"
    HOST = "host"
    FREEZE = "freeze"


class Openings:
    """Windows of the tasks of one finished board."""

    def __init__(self, fleet: Fleet, fleet_problem: FleetProblem, board: Board) -> None:
        self._fleet, self._board = fleet, board
        self._problem = fleet_problem.problem
        columns = ["task", "domain", "service", "type", "release"]
        self._names = fleet_problem.tasks[columns].to_dict("list")
        self._opens_s: list[list[int]] = self._problem.opens_s.tolist()

    def opens_s(self, task: int, window: int) -> int:
        """Opening of a window of the task's domain, seconds."""
        return self._opens_s[self._board.domain[task]][window]

    def length_s(self, task: int) -> int:
        """Length of the windows of the task's domain, seconds."""
        return int(self._problem.window_s[self._board.domain[task]])

    def open_to(self, task: int, from_s: int, until_s: int) -> list[int]:
        """Windows in which the task would fit between two times if it were alone."""
        return [
            window
            for window in range(self._board.n_windows)
            if self._is_allowed(task, window) and self._fits(task, window, from_s, until_s)
        ]

    def frozen(self, task: int, from_s: int, until_s: int) -> list[int]:
        """Windows that the task could use between two times if nothing were frozen."""
        return [
            window
            for window in range(self._board.n_windows)
            if self._is_allowed(task, window)
            and self._fits_unfrozen(task, window, from_s, until_s)
            and not self._fits(task, window, from_s, until_s)
        ]

    def shut_by(self, task: int, window: int, from_s: int, until_s: int) -> Shut | None:
        """What keeps a task with these limits from a window; None: it is open."""
        board = self._board
        ready_s, deadline_s = board.ready_s[task], board.deadline_s[task]
        wave_from_s, wave_until_s = 0, NEVER_S
        if board.group[task] != NONE:
            wave_from_s, wave_until_s = board.wave_limits(board.group[task], board.wave[task])
        if not self._is_allowed(task, window):
            return Shut.PIN
        begins_s = max(ready_s, wave_from_s)
        for kind, first_s, last_s in (
            (Shut.LENGTH, 0, NEVER_S),
            (Shut.ARRIVAL, ready_s, NEVER_S),
            (Shut.DEADLINE, ready_s, deadline_s),
            (Shut.EARLIER_WAVES, begins_s, deadline_s),
            (Shut.LATER_WAVES, begins_s, min(deadline_s, wave_until_s)),
            (Shut.HOST, from_s, until_s),
        ):
            if not self._fits_unfrozen(task, window, first_s, last_s):
                return kind
        return None if self._fits(task, window, from_s, until_s) else Shut.FREEZE

    def closed(self, task: int, from_s: int, until_s: int) -> str:
        """Say of all windows that are not open what shuts them: ", 2 are frozen (...)"."""
        found = [
            self.shut_by(task, window, from_s, until_s) for window in range(self._board.n_windows)
        ]
        counts = Counter(kind for kind in found if kind is not None)
        words = ""
        for kind in (kind for kind in Shut if counts[kind]):
            verb = "is" if counts[kind] == 1 else "are"
            words += f", {counts[kind]} {verb} {self._said(task, kind, from_s, until_s)}"
        return words

    def _said(self, task: int, kind: Shut, from_s: int, until_s: int) -> str:
        board = self._board
        if kind is Shut.PIN:
            return "not the one that it is pinned to"
        if kind is Shut.LENGTH:
            return "too short for it"
        if kind is Shut.ARRIVAL:
            return f"over before it can begin at {moment(board.ready_s[task])}"
        if kind is Shut.DEADLINE:
            return f"too late for its deadline {moment(board.deadline_s[task])}"
        if kind is Shut.HOST:
            return "lost to the order of work on its host"
        if kind is Shut.FREEZE:
            return f"frozen ({self.freeze(task, self.frozen(task, from_s, until_s))})"
        limits_s = board.wave_limits(board.group[task], board.wave[task])
        wave = f"its wave {board.wave[task]}"
        if kind is Shut.EARLIER_WAVES:
            return f"over when {wave} may start at {moment(limits_s[0])}"
        return f"too late for {wave}, which must end by {moment(limits_s[1])} for the next"

    def order(self, task: int) -> str:
        """Name the work of its host, and the waves, that leave a task no time."""
        board, names, types = self._board, self._names, self._problem.tasks.type
        ancestors, words = self._problem.ancestors, []
        from_s, until_s = board.limits(task)
        for other, slot in board.on_host(task):
            name = f"{names['type'][other]} task {names['task'][other]}"
            end_s = slot.start_s + board.reserved_s[other]
            if types[other] in ancestors[types[task]] and end_s == from_s:
                words.append(f"{name}, which must come first on its host until {moment(end_s)},")
            elif types[task] in ancestors[types[other]] and slot.start_s == until_s:
                words.append(f"{name}, which follows on its host at {moment(slot.start_s)},")
        if board.group[task] != NONE:
            span_s = board.wave_limits(board.group[task], board.wave[task])
            wave = f"wave {board.wave[task]} of release {names['release'][task]}"
            if span_s[0] == from_s:
                words.append(f"{wave}, which may start at {moment(from_s)},")
            if span_s[1] == until_s:
                words.append(f"{wave}, which must end by {moment(until_s)},")
        return " with ".join(words) or f"its arrival at {moment(board.ready_s[task])}"

    def free_s(self, task: int, window: int, from_s: int, until_s: int) -> int:
        """Longest free time of a lane that the task could use in a window, seconds."""
        rollback_s = self._board.rollback_s[task]
        return max(
            (
                min(b - rollback_s, until_s, gap.until_s) - max(a, from_s, gap.from_s)
                for a, b in self._problem.segments[self._board.pair[task]][window]
                for gap in self._board.free_gaps(self._board.domain[task], window)
            ),
            default=0,
        )

    def freeze(self, task: int, windows: Sequence[int]) -> str:
        """Name the last freeze that takes one of these windows from the task."""
        domain, service = self._names["domain"][task], self._names["service"][task]
        lost_s = np.array([self.opens_s(task, window) for window in windows], dtype=np.int64)
        close_s = lost_s + self.length_s(task)
        last = max(
            (
                freeze
                for freeze in self._fleet.freezes
                if freeze.covers(domain, service)
                and ((lost_s < freeze.until_s) & (close_s > freeze.from_s)).any()
            ),
            key=lambda freeze: freeze.until_s,
        )
        return f"freeze by {last.owner} until {moment(last.until_s)}: {last.reason}"

    def _is_allowed(self, task: int, window: int) -> bool:
        return self._board.pin[task] in (NONE, window)

    def _fits(self, task: int, window: int, from_s: int, until_s: int) -> bool:
        length_s, rollback_s = self._board.reserved_s[task], self._board.rollback_s[task]
        parts = self._problem.segments[self._board.pair[task]][window]
        return any(max(a, from_s) + length_s <= min(b - rollback_s, until_s) for a, b in parts)

    def _fits_unfrozen(self, task: int, window: int, from_s: int, until_s: int) -> bool:
        open_s, rollback_s = self.opens_s(task, window), self._board.rollback_s[task]
        end_s = max(open_s, from_s) + self._board.reserved_s[task]
        return end_s <= min(open_s + self.length_s(task) - rollback_s, until_s)


def minutes(seconds: float) -> str:
    """Write a length of time in minutes."""
    return f"{seconds / 60:,.0f} min"


def moment(seconds: int) -> str:
    """Write a time of the local clock."""
    return str(np.datetime64(seconds, "s")).replace("T", " ")

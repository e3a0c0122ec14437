"""Why a task has no place: one reason and a sentence with numbers.

The order of questions is that of a person: may the host be touched, is a window long
enough, is it frozen, too late, blocked by other work, and only then whether it is full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import RefusalReason
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.problem import FleetProblem
from models.upgrades.schedule.base import NEVER_S, NONE
from models.upgrades.schedule.board import Board


class Refusal(NamedTuple):
    """A reason and its sentence."""

    reason: RefusalReason
    detail: str


class Explainer:
    """Explains the refusals of one finished board."""

    def __init__(
        self, fleet: Fleet, fleet_problem: FleetProblem, board: Board, config: RolloutConfig
    ) -> None:
        self._fleet, self._config, self._board = fleet, config, board
        self._built = fleet_problem
        self._problem = fleet_problem.problem
        columns = ["task", "host", "domain", "service", "type", "release"]
        self._names = fleet_problem.tasks[columns].to_dict("list")
        self._deadline_s: list[int] = self._problem.tasks.deadline_s.tolist()
        self._pin: list[int] = self._problem.tasks.pin.tolist()
        self._pair: list[int] = self._problem.tasks.pair.tolist()
        codes, names = self._problem.tasks.domain.tolist(), self._names["domain"]
        self._domains = dict(zip(codes, names, strict=True))
        self._known: dict[tuple[int, ...], Refusal] = {}

    def explain(self, task: int) -> Refusal:
        """Say why a task without a place has none."""
        reason = self._built.refused[task]
        if reason is not None:
            return Refusal(reason, self._never(task, reason))
        from_s, until_s = self._board.limits(task)
        if task in self._board.siblings:
            return self._placeable(task, from_s, until_s)
        # Tasks that differ in nothing that the board looks at share one sentence.
        key: tuple[int, ...] = (
            *(self._pair[task], self._board.reserved_s[task], self._board.rollback_s[task]),
            *(from_s, until_s, self._pin[task], self._board.group[task], self._board.wave[task]),
        )
        if key not in self._known:
            self._known[key] = self._placeable(task, from_s, until_s)
        return self._known[key]

    def _never(self, task: int, reason: RefusalReason) -> str:
        """Sentence for a task that no plan could place."""
        domain, release = self._names["domain"][task], self._names["release"][task]
        rollback_s, window_s = self._board.rollback_s[task], self._window_s(task)
        n_windows, needs = self._board.n_windows, self._needs(task)
        if reason is RefusalReason.EXCLUDED:
            return f"host {self._names['host'][task]} is excluded by {list(self._config.exclude)}"
        if reason is RefusalReason.WAVE_GATE:
            gate = self._built.table.gates[self._built.table.group[task]]
            return (
                f"release {release} failed on {gate.failed} of {gate.ended} "
                f"hosts, more than {self._config.gate_failure_share:.0%}: withdraw or repair it"
            )
        if reason is RefusalReason.NEEDS_LONGER_WINDOW:
            if self._board.reserved_s[task] >= NEVER_S:
                needs = f"more than the {minutes(window_s)} of its window"
            return (
                f"it needs {needs} and {minutes(rollback_s)} for a rollback, the windows of "
                f"{domain} have {minutes(window_s)}: lengthen them or hand it to a person"
            )
        if reason is RefusalReason.DOES_NOT_PAY:
            return (
                f"with all {minutes(window_s)} of a window its expected value is still below 0: "
                "it is likelier to be cancelled than it is worth"
            )
        if reason is RefusalReason.DEADLINE:
            where = f"any window of {domain}"
            if self._built.table.group[task] != NONE:
                where += f" that is left after the waves before its own of {release}"
            return (
                f"it needs {needs} and its deadline {moment(self._deadline_s[task])} is before "
                f"it could end in {where}"
            )
        if reason is RefusalReason.FREEZE:
            return (
                f"it needs {needs} and none of {n_windows} windows of {domain} leaves it that: "
                f"{self._freezes(task, self._board.ready_s[task], self._deadline_s[task])}"
            )
        return (
            f"no window of {domain} leaves it {minutes(self._board.reserved_s[task])} after its "
            f"arrival: extend horizon_days"
        )

    def _placeable(self, task: int, from_s: int, until_s: int) -> Refusal:
        """Reason and sentence for a task that had a place on an empty fleet."""
        names, needs = self._names, self._needs(task)
        waits_for = self._unplaced_before(task)
        if waits_for is not None:
            return Refusal(
                RefusalReason.PRECEDENCE,
                f"{names['type'][waits_for]} task {names['task'][waits_for]} must come first on "
                f"host {names['host'][task]} and has no place",
            )
        group, wave = self._board.group[task], self._board.wave[task]
        if group != NONE:
            span = self._board.wave_limits(group, wave)
            if not self._windows(task, *span):
                if self._frozen(task, *span):
                    words = self._after_freeze(task, *span)
                    return Refusal(RefusalReason.FREEZE, words)
                return Refusal(RefusalReason.WAVE_GATE, self._gate(task, span[0], needs))
        windows = self._windows(task, from_s, until_s)
        if not windows:
            if self._frozen(task, from_s, until_s):
                words = self._after_freeze(task, from_s, until_s)
                return Refusal(RefusalReason.FREEZE, words)
            kind = RefusalReason.DEADLINE
            words = f"its deadline {moment(self._deadline_s[task])}"
            if self._windows(task, 0, self._deadline_s[task]):
                kind, words = RefusalReason.PRECEDENCE, "other work of its host and release"
            return Refusal(kind, f"it needs {needs}, and {words} leaves no window for it")
        return self._full(task, windows, from_s, until_s)

    def _full(self, task: int, windows: Sequence[int], from_s: int, until_s: int) -> Refusal:
        """Which of lanes, host and service is in the way in the windows that remain."""
        names, rollback = self._names, minutes(self._board.rollback_s[task])
        words = (
            f"it needs {self._needs(task)} and {rollback} for a rollback; {len(windows)} of "
            f"{self._board.n_windows} windows of {names['domain'][task]} are open to it"
        )
        words += self._before_wave(task)
        if self._frozen(task, from_s, until_s):
            words += f" ({self._freezes(task, from_s, until_s)})"
        free_s = max(self._free_s(task, window, from_s, until_s) for window in windows)
        if free_s < self._board.reserved_s[task]:
            return Refusal(
                RefusalReason.NO_CAPACITY,
                f"{words}, and the longest free time that a lane leaves it is "
                f"{minutes(max(free_s, 0))}: add lanes or days",
            )
        if self._board.find_unruled(task) is None:
            host = names["host"][task]
            return Refusal(
                RefusalReason.HOST_BUSY,
                f"{words}, but other tasks hold host {host} whenever a lane is free",
            )
        if self._board.find_in_any_domain(task) is not None:
            return Refusal(
                RefusalReason.DOMAIN_LIMIT, f"{words}, but {self._spread(task, windows)}"
            )
        service = self._board.service[task]
        cap, asked = self._board.down.caps[service], self._fleet.caps[names["service"][task]]
        kept = f" less {asked - cap} kept free for overruns" if cap < asked else ""
        return Refusal(
            RefusalReason.SERVICE_CAP,
            f"{words}, but whenever a lane is free {cap} hosts of service "
            f"{names['service'][task]} are down already, as many as its cap allows{kept}",
        )

    def _spread(self, task: int, windows: Sequence[int]) -> str:
        """Which rule about the domains of its service is in the way."""
        down, service = self._board.down, self._board.service[task]
        domain, name = self._board.domain[task], self._names["service"][task]
        shut = [window for window in windows if not down.allows(service, domain, window)]
        if not shut:
            return (
                f"whenever a lane is free another domain of service {name} is touched, and "
                "one_domain_at_a_time is set"
            )
        touched = [self._domains[code] for code in down.touched(service, domain, shut[0])]
        return (
            f"in {len(shut)} of these service {name} is touched in as many other domains as "
            f"max_domains_per_window allows, {down.max_domains(service)}: first in "
            f"{', '.join(touched)}"
        )

    def _before_wave(self, task: int) -> str:
        """Say how many windows are over when the wave of a task may start."""
        group, wave = self._board.group[task], self._board.wave[task]
        if group == NONE:
            return ""
        from_s = self._board.wave_limits(group, wave)[0]
        over = len(self._windows(task, 0, NEVER_S)) - len(self._windows(task, from_s, NEVER_S))
        return (
            f", {over} are over when its wave {wave} may start at {moment(from_s)}" if over else ""
        )

    def _after_freeze(self, task: int, from_s: int, until_s: int) -> str:
        group, wave = self._board.group[task], self._board.wave[task]
        words = f"it needs {self._needs(task)}"
        if group != NONE and self._board.wave_limits(group, wave)[0] > self._board.ready_s[task]:
            words += f", may start at {moment(from_s)} after the waves before its own"
        lost = len(self._frozen(task, from_s, until_s))
        return (
            f"{words}, and {lost} windows are frozen then: {self._freezes(task, from_s, until_s)}"
        )

    def _gate(self, task: int, from_s: int, needs: str) -> str:
        release, wave = self._names["release"][task], self._board.wave[task]
        if from_s >= NEVER_S:
            return (
                f"wave {wave} of release {release} waits: fewer than "
                f"{self._config.wave_quorum:.0%} of an earlier wave have a place"
            )
        return (
            f"wave {wave} of release {release} may start at {moment(from_s)}, after the wave "
            f"before it and {minutes(self._config.soak_s)} of soak; no window of {needs} is left"
        )

    def _windows(self, task: int, from_s: int, until_s: int) -> list[int]:
        """Windows in which the task would fit between two times if it were alone."""
        length_s, rollback_s = self._board.reserved_s[task], self._board.rollback_s[task]
        return [
            window
            for window, parts in enumerate(self._problem.segments[self._pair[task]])
            if self._pin[task] in (NONE, window)
            and any(max(a, from_s) + length_s <= min(b - rollback_s, until_s) for a, b in parts)
        ]

    def _free_s(self, task: int, window: int, from_s: int, until_s: int) -> int:
        """Longest free time of a lane that the task could use in a window, seconds."""
        rollback_s = self._board.rollback_s[task]
        return max(
            (
                min(b - rollback_s, until_s, gap.until_s) - max(a, from_s, gap.from_s)
                for a, b in self._problem.segments[self._pair[task]][window]
                for gap in self._board.free_gaps(self._board.domain[task], window)
            ),
            default=0,
        )

    def _unplaced_before(self, task: int) -> int | None:
        types = self._problem.tasks.type
        first = self._problem.ancestors[types[task]]
        for other in self._board.siblings.get(task, ()):
            if other not in self._board.slots and types[other] in first:
                return other
        return None

    def _frozen(self, task: int, from_s: int, until_s: int) -> list[int]:
        """Windows that the task could use between two times if nothing were frozen."""
        whole = self._problem.opens_s[self._board.domain[task]].tolist()
        length_s, rollback_s = self._board.reserved_s[task], self._board.rollback_s[task]
        left = set(self._windows(task, from_s, until_s))
        return [
            window
            for window, open_s in enumerate(whole)
            if window not in left
            and self._pin[task] in (NONE, window)
            and max(open_s, from_s) + length_s
            <= min(open_s + self._window_s(task) - rollback_s, until_s)
        ]

    def _freezes(self, task: int, from_s: int, until_s: int) -> str:
        """Name the last freeze that takes a window between two times from the task."""
        domain, service = self._names["domain"][task], self._names["service"][task]
        opens_s = self._problem.opens_s[self._board.domain[task]]
        lost_s = opens_s[self._frozen(task, from_s, until_s)]
        last = max(
            (
                freeze
                for freeze in self._fleet.freezes
                if freeze.covers(domain, service)
                and (
                    (lost_s < freeze.until_s) & (lost_s + self._window_s(task) > freeze.from_s)
                ).any()
            ),
            key=lambda freeze: freeze.until_s,
        )
        return f"freeze by {last.owner} until {moment(last.until_s)}: {last.reason}"

    def _needs(self, task: int) -> str:
        return minutes(self._board.reserved_s[task])

    def _window_s(self, task: int) -> int:
        return int(self._problem.window_s[self._board.domain[task]])


def minutes(seconds: float) -> str:
    """Write a length of time in minutes."""
    return f"{seconds / 60:,.0f} min"


def moment(seconds: int) -> str:
    """Write a time of the local clock."""
    return str(np.datetime64(seconds, "s")).replace("T", " ")

"""Why a task has no place: one reason and a sentence with numbers.

The order of questions is that of a person: may the host be touched, is a window long
enough, is it frozen, too late, blocked by other work, and only then whether it is full.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.upgrades.fleet.base import Fleet
from models.upgrades.plan import RefusalReason
from models.upgrades.rollout.config import RolloutConfig
from models.upgrades.rollout.forecast import TaskForecast
from models.upgrades.rollout.length import too_long_words
from models.upgrades.rollout.openings import Openings, Shut, minutes, moment
from models.upgrades.rollout.problem import FleetProblem
from models.upgrades.schedule.base import NEVER_S, NONE
from models.upgrades.schedule.board import Board

# What a pin has no part in: no other window would do either.
_UNPINNED = (
    *(RefusalReason.EXCLUDED, RefusalReason.NEEDS_LONGER_WINDOW, RefusalReason.DOES_NOT_PAY),
)


class Refusal(NamedTuple):
    """A reason and its sentence."""

    reason: RefusalReason
    detail: str


class Explainer:
    """Explains the refusals of one finished board."""

    def __init__(
        self,
        fleet: Fleet,
        fleet_problem: FleetProblem,
        forecast: TaskForecast,
        board: Board,
        config: RolloutConfig,
    ) -> None:
        self._fleet, self._config, self._board = fleet, config, board
        self._built, self._forecast = fleet_problem, forecast
        self._problem = fleet_problem.problem
        self._open = Openings(fleet, fleet_problem, board)
        columns = ["task", "host", "domain", "service", "type", "release"]
        self._names = fleet_problem.tasks[columns].to_dict("list")
        self._deadline_s: list[int] = self._problem.tasks.deadline_s.tolist()
        codes, names = self._problem.tasks.domain.tolist(), self._names["domain"]
        self._domains = dict(zip(codes, names, strict=True))
        self._known: dict[tuple[int, ...], Refusal] = {}
        self._told: dict[int, Refusal] = {}
        self._gates: dict[tuple[int, int], str] = {}
        self._members: dict[tuple[int, int], list[int]] = {}
        for task in np.flatnonzero(self._problem.tasks.group != NONE).tolist():
            self._members.setdefault((board.group[task], board.wave[task]), []).append(task)

    def explain(self, task: int) -> Refusal:
        """Say why a task without a place has none."""
        if task not in self._told:
            found = self._explained(task)
            is_pinned = self._board.pin[task] != NONE and found.reason not in _UNPINNED
            self._told[task] = self._pinned(task, found) if is_pinned else found
        return self._told[task]

    def _explained(self, task: int) -> Refusal:
        reason = self._built.refused[task]
        if reason is not None:
            return Refusal(reason, self._never(task, reason))
        from_s, until_s = self._board.limits(task)
        if task in self._board.siblings:
            return self._placeable(task, from_s, until_s)
        # Tasks that differ in nothing that the board looks at share one sentence.
        board = self._board
        key: tuple[int, ...] = (
            *(board.pair[task], board.reserved_s[task], board.rollback_s[task]),
            *(from_s, until_s, board.pin[task], board.group[task], board.wave[task]),
        )
        if key not in self._known:
            self._known[key] = self._placeable(task, from_s, until_s)
        return self._known[key]

    def _pinned(self, task: int, found: Refusal) -> Refusal:
        """Say it of the window that the task is pinned to."""
        pin, (from_s, until_s) = self._board.pin[task], self._board.limits(task)
        head = f"pinned to the window of {moment(self._open.opens_s(task, pin))}"
        shut = None
        # After a wave or a task that has no place there is no time to compare with.
        if from_s < NEVER_S:
            shut = self._open.shut_by(task, pin, from_s, until_s)
        if shut is Shut.FREEZE:
            return Refusal(
                RefusalReason.FREEZE, f"{head}, which has a {self._open.freeze(task, [pin])}"
            )
        if shut is Shut.DEADLINE:
            words = f"where it would end after its deadline {moment(self._deadline_s[task])}"
            return Refusal(RefusalReason.DEADLINE, f"{head}, {words}")
        if shut is Shut.EARLIER_WAVES:
            group, wave = self._board.group[task], self._board.wave[task]
            begins = moment(self._board.wave_limits(group, wave)[0])
            words = f"which is over when its wave {wave} may start at {begins}"
            return Refusal(RefusalReason.WAVE_GATE, f"{head}, {words}")
        if shut is Shut.ARRIVAL:
            words = f"which is over before it can begin at {moment(self._board.ready_s[task])}"
            return Refusal(RefusalReason.NO_CAPACITY, f"{head}, {words}")
        return Refusal(found.reason, f"{head}: {found.detail}")

    def _never(self, task: int, reason: RefusalReason) -> str:
        """Sentence for a task that no plan could place."""
        domain, release = self._names["domain"][task], self._names["release"][task]
        window_s = self._open.length_s(task)
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
            return too_long_words(self._built, self._forecast, task)
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
                f"{self._freeze(task, self._board.ready_s[task], self._deadline_s[task])}"
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
            if not self._open.open_to(task, *span):
                if self._open.frozen(task, *span):
                    words = self._after_freeze(task, *span)
                    return Refusal(RefusalReason.FREEZE, words)
                return Refusal(RefusalReason.WAVE_GATE, self._gate(task, span[0], needs))
        windows = self._open.open_to(task, from_s, until_s)
        if not windows:
            if self._open.frozen(task, from_s, until_s):
                words = self._after_freeze(task, from_s, until_s)
                return Refusal(RefusalReason.FREEZE, words)
            kind = RefusalReason.DEADLINE
            words = f"its deadline {moment(self._deadline_s[task])}"
            if self._open.open_to(task, 0, self._deadline_s[task]):
                kind, words = RefusalReason.PRECEDENCE, self._open.order(task)
            return Refusal(kind, f"it needs {needs}, and {words} leaves no window for it")
        return self._full(task, windows, from_s, until_s)

    def _full(self, task: int, windows: Sequence[int], from_s: int, until_s: int) -> Refusal:
        """Which of lanes, host and service is in the way in the windows that remain."""
        names, rollback = self._names, minutes(self._board.rollback_s[task])
        words = (
            f"it needs {self._needs(task)} and {rollback} for a rollback; {len(windows)} of "
            f"{self._board.n_windows} windows of {names['domain'][task]} are open to it"
        )
        words += self._open.closed(task, from_s, until_s)
        free_s = max(self._open.free_s(task, window, from_s, until_s) for window in windows)
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

    def _after_freeze(self, task: int, from_s: int, until_s: int) -> str:
        group, wave = self._board.group[task], self._board.wave[task]
        words = f"it needs {self._needs(task)}"
        if group != NONE and self._board.wave_limits(group, wave)[0] > self._board.ready_s[task]:
            words += f", may start at {moment(from_s)} after the waves before its own"
        lost = len(self._open.frozen(task, from_s, until_s))
        return f"{words}, and {lost} windows are frozen then: {self._freeze(task, from_s, until_s)}"

    def _gate(self, task: int, from_s: int, needs: str) -> str:
        release, wave = self._names["release"][task], self._board.wave[task]
        if from_s >= NEVER_S:
            key = (self._board.group[task], wave)
            if key not in self._gates:
                self._gates[key] = self._short_wave(*key)
            return f"wave {wave} of release {release} waits: {self._gates[key]}"
        return (
            f"wave {wave} of release {release} may start at {moment(from_s)}, after the wave "
            f"before it and {minutes(self._config.soak_s)} of soak; no window of {needs} is left"
        )

    def _short_wave(self, group: int, wave: int) -> str:
        """Say which earlier wave is short of its quorum, by how much and mostly why."""
        waves, board = self._problem.waves, self._board
        before = next(n for n in range(wave) if board.spare(group, n) < 0)
        missing = [task for task in self._members[group, before] if task not in board.slots]
        n_hosts = int(waves.size[group, before])
        # Members of an earlier wave wait for still earlier ones only, so this ends.
        refusals = [self.explain(task) for task in missing]
        ((reason, n_same),) = Counter(found.reason for found in refusals).most_common(1)
        first = next(place for place, found in enumerate(refusals) if found.reason is reason)
        return (
            f"{n_hosts - len(missing)} of {n_hosts} hosts of wave {before} are done or have a "
            f"place, fewer than {self._config.wave_quorum:.0%}; {n_same} of the others have none "
            f"for '{reason}' (task {self._names['task'][missing[first]]}: "
            f"{refusals[first].detail})"
        )

    def _unplaced_before(self, task: int) -> int | None:
        types = self._problem.tasks.type
        first = self._problem.ancestors[types[task]]
        for other in self._board.siblings.get(task, ()):
            if other not in self._board.slots and types[other] in first:
                return other
        return None

    def _freeze(self, task: int, from_s: int, until_s: int) -> str:
        return self._open.freeze(task, self._open.frozen(task, from_s, until_s))

    def _needs(self, task: int) -> str:
        return minutes(self._board.reserved_s[task])

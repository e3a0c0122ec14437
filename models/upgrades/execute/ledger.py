"""What the audit log says so far: where each task stands, which releases are paused."""

from __future__ import annotations

import json
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from models.upgrades.config import DAY_S
from models.upgrades.execute.audit import (
    LEFT,
    OPEN,
    PAUSED,
    START,
    UNPAUSED,
    AuditError,
    AuditLog,
)
from models.upgrades.execute.base import FINAL, Group, State, Work
from models.upgrades.execute.gates import Gates
from models.upgrades.execute.plan_file import by_start

FAILED = "upgrade failed"
UNDONE = "; rolled back"
"""How the reason of a task ends whose rollback has ended well."""
TAKEN_BACK = "taken back: "
"""How the reason of a task begins that is undone because its release is taken back."""
_MOVED = re.compile(r"moved by (\d+) days: ")
_STATES = {
    START: State.RUNNING,
    State.PLANNED.value: State.PLANNED,
    "rollback": State.ROLLING_BACK,
    **{state.value: state for state in FINAL},
}


def taken_back(release: str) -> str:
    """How the reason of every task begins that is undone because of `release`.

    Quoted, so that no name is the beginning of another one.
    """
    return f"{TAKEN_BACK}release {json.dumps(release, ensure_ascii=False)};"


@dataclass
class Record:
    """Where one task stands.

    Attributes:
        state: Its state.
        start_s: When it was started; None: never.
        end_s: When it reached a final state.
        reason: Why it is where it is.
        has_failed: Whether the executor called the upgrade failed.
        rollback_from_s: When its rollback was first asked for; None: never.
        n_rollbacks: How often it was asked for.
    """

    state: State = State.PLANNED
    start_s: int | None = None
    end_s: int | None = None
    reason: str = ""
    has_failed: bool = False
    rollback_from_s: int | None = None
    n_rollbacks: int = 0


class Ledger:
    """The records of all tasks, each change written to the audit log before it counts.

    Args:
        works: Placed tasks.
        audit: The log; what it holds already is taken over.
        gates: Gates of the releases; brought to where the log is.
        plan_digest: Names the plan.

    Attributes:
        works: All tasks by name; those that were moved at their new times.
        planned: Tasks that were not started, in order of start, by name.
        paused_s: When each paused release was paused.
        busy: Tasks that run or roll back, by name.
        hosts: Their hosts.
        lanes: Who holds each lane that is held: names of tasks by (domain, lane).
        down: Hosts by service that are down: the busy ones, and those that were given up
            without a rollback that ended well, since nobody knows that they serve.

    Raises:
        AuditError: The log is that of another plan.
    """

    def __init__(
        self, works: Iterable[Work], audit: AuditLog, gates: Gates, plan_digest: str
    ) -> None:
        self.works = {work.task: work for work in works}
        self.records = {task: Record() for task in self.works}
        # Kept apart, since a plan of 100,000 tasks is looked at every few minutes; linked, since
        # a plain dict whose first items are gone is walked from its very beginning.
        self.planned, self.busy = OrderedDict(self.works), dict[str, Work]()
        # By owner: what ends frees the lane for itself alone.
        self.hosts, self.lanes = set[str](), dict[tuple[str, int], set[str]]()
        self.down: dict[str, set[str]] = defaultdict(set)
        self.paused_s: dict[Group, int] = {}
        self._audit, self._gates = audit, gates
        for entry in audit.entries:
            self._replay(entry, plan_digest)
        self.sort()

    def write(self, what: str, at_s: int, why: str) -> None:
        """Write something that is about no task."""
        self._audit.write(what, at_s, why)

    def start(self, work: Work, at_s: int, why: str) -> None:
        """Write the start before it is asked for: after a crash it is never asked for again."""
        self._audit.write(START, at_s, why, work)
        self._take(work, State.RUNNING, at_s, why)

    def roll_back(self, work: Work, at_s: int, why: str) -> None:
        """Write that a task is to be rolled back, on the lane that `work` names."""
        self._audit.write("rollback", at_s, why, work)
        self._take(work, State.ROLLING_BACK, at_s, why)

    def close(self, work: Work, state: State, at_s: int, why: str) -> None:
        """Write a final state."""
        self._audit.write(state.value, at_s, why, work)
        self._take(work, state, at_s, why)

    def reopen(self, work: Work, days: int, at_s: int, why: str) -> None:
        """Write that a task which was not started may start, whole days later than before.

        `sort` after the last one.
        """
        said = f"moved by {days} days: {why}"
        self._audit.write(State.PLANNED.value, at_s, said, work)
        self._take(work, State.PLANNED, at_s, said)

    def leave(self, work: Work, at_s: int, why: str) -> None:
        """Write that a task stays as it is although something else was asked for."""
        self._audit.write(LEFT, at_s, why, work)

    def sort(self) -> None:
        """Bring what is planned into order of start."""
        self.planned = OrderedDict(
            (work.task, work) for work in sorted(self.planned.values(), key=by_start)
        )

    def pause(self, group: Group, at_s: int, why: str) -> None:
        """Write that a release is paused, once."""
        if group not in self._gates.paused:
            self._audit.write(PAUSED, at_s, f"{group}: {why}", group=group)
            self._pause(group, at_s, why)

    def unpause(self, group: Group, at_s: int, why: str) -> None:
        """Write that a person lets a release go on."""
        self._audit.write(UNPAUSED, at_s, f"{group}: {why}", group=group)
        self._gates.unpause(group)

    def _replay(self, entry: Mapping[str, Any], plan_digest: str) -> None:
        what, why, task = entry["what"], str(entry["why"]), entry["task"]
        if what == OPEN and plan_digest not in why:
            raise AuditError(
                f"the log {self._audit.file} is that of another plan ({why}); each plan has a "
                "log of its own"
            )
        if what == PAUSED:
            group = Group(*entry["group"])
            self._pause(group, int(entry["clock_s"]), why.removeprefix(f"{group}: "))
        elif what == UNPAUSED:
            self._gates.unpause(Group(*entry["group"]))
        elif task is not None and what in _STATES:
            if task not in self.works:
                raise AuditError(f"{self._audit.file} names task {task}, which the plan lacks")
            # A rollback may hold another lane than the upgrade did.
            work = replace(self.works[task], lane=int(entry["lane"]))
            self._take(work, _STATES[what], int(entry["clock_s"]), why)

    def _pause(self, group: Group, at_s: int, why: str) -> None:
        self.paused_s[group] = at_s
        self._gates.pause(group, why)

    def _take(self, work: Work, state: State, at_s: int, why: str) -> None:
        record = self.records[work.task]
        before, record.state, record.reason = record.state, state, why
        if state == State.PLANNED:
            self._move(work, why)
            if before == State.HELD:
                record.end_s = None
                self._gates.reopen(work)
            return
        self.planned.pop(work.task, None)
        held = self.busy.pop(work.task, None)
        if held is not None:
            self._free_lane(held)
        if state not in FINAL:
            record.end_s = None
            self.busy[work.task] = work
            self.hosts.add(work.host)
            self.lanes.setdefault((work.domain, work.lane), set()).add(work.task)
            self.down[work.service].add(work.host)
        elif held is not None:
            self.hosts.discard(work.host)
            if state != State.GIVEN_UP or why.endswith(UNDONE):
                self.down[work.service].discard(work.host)
        if state == State.RUNNING:
            record.start_s = at_s
        elif state == State.ROLLING_BACK:
            record.has_failed = why == FAILED
            if before != State.ROLLING_BACK:
                record.rollback_from_s, record.n_rollbacks = at_s, 0
            record.n_rollbacks += 1
        elif state in FINAL:
            record.end_s = at_s
            # A lost or stuck upgrade is a failure of the release too.
            is_failure = record.has_failed or state == State.GIVEN_UP
            self._gates.record(work, state, at_s, is_failure=is_failure)

    def _free_lane(self, work: Work) -> None:
        owners = self.lanes[work.domain, work.lane]
        owners.discard(work.task)
        if not owners:
            del self.lanes[work.domain, work.lane]

    def _move(self, work: Work, why: str) -> None:
        moved = _MOVED.match(why)
        later_s = int(moved[1]) * DAY_S if moved else 0
        place = replace(work, start_s=work.start_s + later_s, deadline_s=work.deadline_s + later_s)
        self.works[work.task] = self.planned[work.task] = place

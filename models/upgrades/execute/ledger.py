"""What the audit log says so far: where each task stands, which releases are paused."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from models.upgrades.execute.audit import OPEN, PAUSED, START, UNPAUSED, AuditError, AuditLog
from models.upgrades.execute.base import FINAL, State, Work
from models.upgrades.execute.gates import Gates

FAILED = "upgrade failed"
UNDONE = "; rolled back"
"""How the reason of a task ends whose rollback has ended well."""
_STATES = {
    START: State.RUNNING,
    "rollback": State.ROLLING_BACK,
    **{state.value: state for state in FINAL},
}


@dataclass
class Record:
    """Where one task stands.

    Attributes:
        state: Its state.
        start_s: When it was started; None: never.
        end_s: When it reached a final state.
        reason: Why it is where it is.
        has_failed: Whether the executor called the upgrade failed.
        n_rollbacks: How often its rollback was asked for.
    """

    state: State = State.PLANNED
    start_s: int | None = None
    end_s: int | None = None
    reason: str = ""
    has_failed: bool = False
    n_rollbacks: int = 0


class Ledger:
    """The records of all tasks, each change written to the audit log before it counts.

    Args:
        works: Placed tasks.
        audit: The log; what it holds already is taken over.
        gates: Gates of the releases; brought to where the log is.
        plan_digest: Names the plan.

    Attributes:
        planned: Tasks that were not started, in the order of the plan, by name.
        busy: Tasks that run or roll back, by name.
        hosts: Their hosts.
        lanes: Their lanes, as (domain, lane).
        down: Hosts by service that are down: the busy ones, and those that were given up
            without a rollback that ended well, since nobody knows that they serve.

    Raises:
        AuditError: The log is that of another plan.
    """

    def __init__(
        self, works: Iterable[Work], audit: AuditLog, gates: Gates, plan_digest: str
    ) -> None:
        self.works: Mapping[str, Work] = {work.task: work for work in works}
        self.records = {task: Record() for task in self.works}
        # Kept apart, since a plan of 100,000 tasks is looked at every few minutes; linked, since
        # a plain dict whose first items are gone is walked from its very beginning.
        self.planned, self.busy = OrderedDict(self.works), dict[str, Work]()
        self.hosts, self.lanes = set[str](), set[tuple[str, int]]()
        self.down: dict[str, set[str]] = defaultdict(set)
        self._audit, self._gates = audit, gates
        for entry in audit.entries:
            self._replay(entry, plan_digest)

    def write(self, what: str, at_s: int, why: str) -> None:
        """Write something that is about no task."""
        self._audit.write(what, at_s, why)

    def start(self, work: Work, at_s: int, why: str) -> None:
        """Write the start before it is asked for: after a crash it is never asked for again."""
        self._audit.write(START, at_s, why, work.task)
        self._take(work, State.RUNNING, at_s, why)

    def roll_back(self, work: Work, at_s: int, why: str) -> None:
        """Write that a task is to be rolled back."""
        self._audit.write("rollback", at_s, why, work.task)
        self._take(work, State.ROLLING_BACK, at_s, why)

    def close(self, work: Work, state: State, at_s: int, why: str) -> None:
        """Write a final state."""
        self._audit.write(state.value, at_s, why, work.task)
        self._take(work, state, at_s, why)

    def pause(self, group: str, at_s: int, why: str) -> None:
        """Write that a release is paused, once."""
        if group not in self._gates.paused:
            self._audit.write(PAUSED, at_s, f"{group}: {why}")
            self._gates.pause(group)

    def unpause(self, group: str, at_s: int, why: str) -> None:
        """Write that a person lets a release go on."""
        self._audit.write(UNPAUSED, at_s, f"{group}: {why}")
        self._gates.unpause(group)

    def _replay(self, entry: Mapping[str, Any], plan_digest: str) -> None:
        what, why, task = entry["what"], str(entry["why"]), entry["task"]
        if what == OPEN and plan_digest not in why:
            raise AuditError(
                f"the log {self._audit.file} is that of another plan ({why}); each plan has a "
                "log of its own"
            )
        if what == PAUSED:
            self._gates.pause(why.partition(": ")[0])
        elif what == UNPAUSED:
            self._gates.unpause(why.partition(": ")[0])
        elif task is not None and what in _STATES:
            if task not in self.works:
                raise AuditError(f"{self._audit.file} names task {task}, which the plan lacks")
            self._take(self.works[task], _STATES[what], int(entry["clock_s"]), why)

    def _take(self, work: Work, state: State, at_s: int, why: str) -> None:
        record = self.records[work.task]
        record.state, record.reason = state, why
        self.planned.pop(work.task, None)
        if state not in FINAL:
            self.busy[work.task] = work
            self.hosts.add(work.host)
            self.lanes.add((work.domain, work.lane))
            self.down[work.service].add(work.host)
        elif self.busy.pop(work.task, None) is not None:
            self.hosts.discard(work.host)
            self.lanes.discard((work.domain, work.lane))
            if state != State.GIVEN_UP or why.endswith(UNDONE):
                self.down[work.service].discard(work.host)
        if state == State.RUNNING:
            record.start_s = at_s
        elif state == State.ROLLING_BACK:
            record.has_failed = why == FAILED
            record.n_rollbacks += 1
        elif state in FINAL:
            record.end_s = at_s
            # A lost or stuck upgrade is a failure of the release too.
            is_failure = record.has_failed or state == State.GIVEN_UP
            self._gates.record(work, state, at_s, is_failure=is_failure)

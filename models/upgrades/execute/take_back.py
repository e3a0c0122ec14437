"""Take a release back: undo what the audit log says has begun of it, last begun first."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict, deque
from dataclasses import replace
from itertools import takewhile

import pandas as pd

from models.errors import unknown_name
from models.upgrades.execute.audit import FINISHED, HALTED, OPEN
from models.upgrades.execute.base import Executor, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.gates import Gates
from models.upgrades.execute.guards import halt_reason
from models.upgrades.execute.ledger import Ledger, taken_back
from models.upgrades.execute.outcome import LOCK_LOST, RollbackResult
from models.upgrades.execute.plan_file import PlanFile
from models.upgrades.execute.reopen import NOT_APPROVED, is_approved
from models.upgrades.execute.rollout import Controls
from models.upgrades.execute.watch import Watcher
from models.upgrades.fleet.base import Fleet
from models.upgrades.rollout.rollback import BEGUN_COLUMNS, rollback_of

_BEGUN = (State.RUNNING, State.COMPLETED)


def take_back(
    plan: PlanFile, fleet: Fleet, executor: Executor, config: ExecuteConfig, controls: Controls
) -> RollbackResult:
    """Undo everything of `config.rollback` that the audit log says has begun.

    The log of the rollout is continued, so a run that was killed goes on where it was: what
    is not undone yet is what the log still calls begun. Its releases are paused first; other
    releases that run are brought to their end, and nothing starts. See `rollback_of` for the
    order.

    Args:
        plan: The plan that was carried out.
        fleet: Its fleet: lanes, caps, order of types, lengths of rollbacks.
        executor: Who touches hosts.
        config: Release, approvals, polling.
        controls: Log, lock, kill switch and clock.

    Raises:
        AuditError: The log is that of another plan.
        UnknownNameError: No task of the plan is of that release.
    """
    return _TakeBack(plan, fleet, executor, config, controls).run()


def refuse_unknown_release(plan: PlanFile, release: str) -> None:
    """Let nobody take back what the plan does not have.

    Raises:
        UnknownNameError: No task of the plan is of that release.
    """
    known = {work.release for work in plan.works} - {""}
    if release not in known:
        raise unknown_name("release in the plan", release, known)


def rollback_order(ledger: Ledger, fleet: Fleet, release: str, at_s: int) -> list[Work]:
    """Tasks to undo in order, with the lanes and times of their rollback."""
    records = ledger.records
    begun = [
        {**work.__dict__, "start_s": records[task].start_s}
        for task, work in ledger.works.items()
        if records[task].state in _BEGUN
    ]
    table = rollback_of(pd.DataFrame(begun, columns=list(BEGUN_COLUMNS)), fleet, release, at_s)
    return [
        replace(ledger.works[task], lane=lane, start_s=start_s, deadline_s=end_s)
        for task, lane, start_s, end_s in table[["task", "lane", "start_s", "end_s"]].itertuples(
            index=False, name=None
        )
    ]


class _TakeBack:
    def __init__(
        self,
        plan: PlanFile,
        fleet: Fleet,
        executor: Executor,
        config: ExecuteConfig,
        controls: Controls,
    ) -> None:
        release = config.rollback or ""
        refuse_unknown_release(plan, release)
        self._plan, self._config, self._controls = plan, config, controls
        audit, gates = controls.audit, Gates(plan.works, config)
        self._ledger = Ledger(plan.works, audit, gates, plan.digest)
        self._watcher = Watcher(self._ledger, gates, executor, config)
        self._now_s = plan.first_s if audit.clock_s is None else audit.clock_s
        self._look_s = self._now_s
        self._lanes = dict(zip(fleet.domains["domain"], fleet.domains["lanes"], strict=True))
        self._release = release
        said = config.why or "no reason was given"
        self._reason = f"{taken_back(release)} {said}"
        order = rollback_order(self._ledger, fleet, release, self._now_s)
        self._todo = OrderedDict((work.task, work) for work in order)
        # Per host in order: what was built on a task is undone before it.
        self._on_host: dict[str, deque[str]] = defaultdict(deque)
        for work in order:
            self._on_host[work.host].append(work.task)
        self._planned_on: dict[str, list[str]] = defaultdict(list)
        for work in plan.works:
            self._planned_on[work.host].append(work.task)
        self._left: dict[str, str] = {}
        self._ledger.write(
            OPEN,
            self._now_s,
            f"release {release} is taken back, {len(order)} tasks to undo: plan {plan.digest} "
            f"through executor {executor.name}",
        )
        for group in sorted({w.group for w in plan.works if w.release == release}):
            self._ledger.pause(group, self._now_s, self._reason)

    def run(self) -> RollbackResult:
        ledger = self._ledger
        while self._todo or ledger.busy:
            if not self._controls.lock.is_held():
                return self._result(LOCK_LOST, "the lock is no longer ours; nothing was touched")
            why = halt_reason(self._controls.halt_file)
            if why is None:
                # Before the look: what runs of the release is asked to stop, not judged first.
                self._undo_what_is_due()
            if self._now_s >= self._look_s:
                self._look_s = self._watcher.look(self._now_s)
            if why is not None and not ledger.busy:
                ledger.write(HALTED, self._now_s, why)
                return self._result(HALTED, why)
            self._move_on()
        why = f"release {self._release}: nothing is left to undo"
        ledger.write(FINISHED, self._now_s, why)
        return self._result(FINISHED, why)

    def _undo_what_is_due(self) -> None:
        due = list(takewhile(lambda work: work.start_s <= self._now_s, self._todo.values()))
        for work in due:
            obstacle = self._obstacle(work)
            if obstacle is not None:
                self._leave(work, obstacle)
            elif self._must_wait(work) is None:
                self._drop(work)
                placed = replace(work, lane=self._lane_of(work))
                self._watcher.roll_back(placed, self._now_s, self._reason)
                self._look_s = min(self._look_s, self._now_s + self._config.poll_s)
        if self._ledger.busy or len(due) < len(self._todo):
            return
        for work in list(self._todo.values()):
            # Nothing runs that they could wait for.
            why = self._must_wait(work)
            if why is not None:
                self._leave(work, why)

    def _obstacle(self, work: Work) -> str | None:
        """Say why a task cannot be undone at all; None if it can."""
        if work.service in self._controls.stateful and not is_approved(work, self._config):
            return f"service {work.service} {NOT_APPROVED}"
        for task in self._planned_on[work.host]:
            if task in self._left:
                return f"{task}, which was built on it on {work.host}, is left as it is"
            if self._ledger.records[task].state == State.GIVEN_UP:
                return f"{work.host} is in the queue of a person ({task})"
        return None

    def _must_wait(self, work: Work) -> str | None:
        """Say what a task waits for; None if it need not."""
        if self._ledger.records[work.task].state == State.RUNNING:
            # It holds its host and its lane already.
            return None
        if self._on_host[work.host][0] != work.task or work.host in self._ledger.hosts:
            return f"{work.host} is busy"
        if self._free_lane(work.domain) is None:
            return f"the lanes of {work.domain} are busy"
        down, caps = self._ledger.down.get(work.service, set()), self._controls.caps or {}
        if work.host not in down and len(down) >= caps.get(work.service, len(down) + 1):
            return f"{len(down)} hosts of {work.service} are down, its cap"
        return None

    def _lane_of(self, work: Work) -> int:
        """Lane on which a task is undone: its own while it runs, else the first free one."""
        running = self._ledger.busy.get(work.task)
        free = self._free_lane(work.domain) if running is None else running.lane
        return work.lane if free is None else free

    def _free_lane(self, domain: str) -> int | None:
        n_lanes = self._lanes.get(domain, 1)
        taken = {lane for of, lane in self._ledger.lanes if of == domain}
        free = (lane for lane in range(n_lanes) if lane not in taken)
        return next(free, None) if len(taken) < n_lanes else None

    def _leave(self, work: Work, why: str) -> None:
        self._ledger.leave(work, self._now_s, f"{self._reason}; not undone: {why}")
        self._left[work.task] = why
        self._drop(work)

    def _drop(self, work: Work) -> None:
        del self._todo[work.task]
        self._on_host[work.host].remove(work.task)

    def _move_on(self) -> None:
        """Move the clock to the next instant that matters."""
        first = next(iter(self._todo.values()), None)
        is_due = first is not None and first.start_s <= self._now_s
        later = [] if first is None or is_due else [first.start_s]
        if self._controls.is_simulated and not is_due:
            self._look_s = self._watcher.skip(self._look_s, min(later, default=math.inf))
        instants = [*later, self._look_s] if self._ledger.busy else later
        if is_due:
            instants = [*instants, self._now_s + self._config.poll_s]
        if instants:
            self._controls.wait(min(instants))
            self._now_s = min(instants)

    def _result(self, status: str, why: str) -> RollbackResult:
        return RollbackResult(
            status,
            why,
            self._plan,
            dict(self._ledger.records),
            self._release,
            left=self._left,
        )

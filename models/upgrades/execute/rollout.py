"""The controller: walk through a plan window by window, and stop when something is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

from models.upgrades.execute.audit import FINISHED, HALTED, OPEN, AuditLog
from models.upgrades.execute.base import Executor, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.gates import WAVES_BEFORE, Gates
from models.upgrades.execute.guards import RolloutLock, halt_reason
from models.upgrades.execute.ledger import Ledger
from models.upgrades.execute.outcome import LOCK_LOST, STOPPED_BY_GATE, RolloutResult
from models.upgrades.execute.plan_file import PlanFile
from models.upgrades.execute.reopen import NOT_APPROVED, is_approved, reopen_held
from models.upgrades.execute.watch import Watcher
from models.upgrades.fleet.base import Freeze
from models.upgrades.schedule.precedence import precedence_ranks


def _pass(until_s: int) -> None:
    """Let simulated time pass: at once."""


@dataclass(frozen=True)
class Controls:
    """What surrounds a rollout.

    Attributes:
        audit: Log of the rollout; an earlier run's is continued.
        lock: Held lock.
        halt_file: Kill switch.
        stateful: Services that keep state.
        after: For each type those that must be completed before it on a host; None: the
            built-in order.
        caps: Hosts of each service that may be down at a time; None: not known, no start
            waits for it.
        freezes: Times in which nothing that is moved may run.
        wait: Called before the plan's clock moves on to an instant; a real rollout sleeps.
    """

    audit: AuditLog
    lock: RolloutLock
    halt_file: Path
    stateful: frozenset[str] = frozenset()
    after: Mapping[str, Sequence[str]] | None = None
    caps: Mapping[str, int] | None = None
    freezes: Sequence[Freeze] = ()
    wait: Callable[[int], None] = field(default=_pass)

    @property
    def is_simulated(self) -> bool:
        """Whether the plan's clock waits for nobody."""
        return self.wait is _pass


def run_rollout(
    plan: PlanFile, executor: Executor, config: ExecuteConfig, controls: Controls
) -> RolloutResult:
    """Carry out what is left of a plan.

    Each task is started at most once, however often the controller dies: its start is
    written and synced before the executor is asked. What an earlier run started is polled
    and brought to its end.

    Args:
        plan: Placed tasks.
        executor: Who touches hosts.
        config: Gates, approvals, polling.
        controls: Log, lock, kill switch and clock.

    Raises:
        AuditError: The log is that of another plan.
        UnknownNameError: A release to resume is not in the plan.
    """
    return _Rollout(plan, executor, config, controls).run()


class _Rollout:
    def __init__(
        self, plan: PlanFile, executor: Executor, config: ExecuteConfig, controls: Controls
    ) -> None:
        self._plan, self._executor = plan, executor
        self._config, self._controls = config, controls
        self._gates = Gates(plan.works, config)
        audit = controls.audit
        self._ledger = Ledger(plan.works, audit, self._gates, plan.digest)
        self._watcher = Watcher(self._ledger, self._gates, executor, config)
        self._ranks = (
            precedence_ranks() if controls.after is None else precedence_ranks(controls.after)
        )
        self._on_host: dict[str, list[Work]] = {}
        for work in plan.works:
            self._on_host.setdefault(work.host, []).append(work)
        first_s = plan.works[0].start_s if plan.works else plan.first_s
        self._now_s = first_s if audit.clock_s is None else audit.clock_s
        self._look_s = self._now_s
        said = f"plan {plan.digest} through executor {executor.name}"
        self._ledger.write(OPEN, self._now_s, said)
        reopen_held(self._ledger, self._gates, config, controls.freezes, self._now_s)
        self._had_work = bool(self._ledger.planned or self._ledger.busy)

    def run(self) -> RolloutResult:
        ledger = self._ledger
        while ledger.planned or ledger.busy:
            if not self._controls.lock.is_held():
                # Somebody else may act on these hosts now: not another word or step.
                return self._result(LOCK_LOST, "the lock is no longer ours; nothing was touched")
            if self._now_s >= self._look_s:
                self._look_s = self._watcher.look(self._now_s)
            why = halt_reason(self._controls.halt_file)
            if why is not None:
                if not ledger.busy:
                    ledger.write(HALTED, self._now_s, why)
                    return self._result(HALTED, why)
            else:
                self._start_what_is_due()
            self._move_on(is_halted=why is not None)
        ledger.write(FINISHED, self._now_s, "every task is in a final state")
        if self._gates.paused:
            names = ", ".join(map(str, sorted(self._gates.paused)))
            return self._result(STOPPED_BY_GATE, f"a person must look at {names}")
        return self._result(FINISHED, "every task is in a final state")

    def _start_what_is_due(self) -> None:
        due = takewhile(lambda work: work.start_s <= self._now_s, self._ledger.planned.values())
        for work in list(due):
            obstacle = self._obstacle(work)
            if obstacle is None:
                waits_for = self._waits_for(work)
                if waits_for is None:
                    self._start(work)
                    continue
                if self._has_time(work, self._now_s + self._config.poll_s):
                    continue
                obstacle = waits_for
            self._watcher.close(work, State.HELD, self._now_s, obstacle)

    def _start(self, work: Work) -> None:
        late_s = self._now_s - work.start_s
        self._ledger.start(work, self._now_s, f"due, {late_s} s late" if late_s else "due")
        self._executor.start(work, self._now_s)
        self._look_s = min(self._look_s, work.deadline_s)

    def _obstacle(self, work: Work) -> str | None:
        """Say why a task may not start at all; None if it may."""
        if not self._has_time(work, self._now_s):
            left_s = work.deadline_s - self._now_s
            return f"{left_s} s are left, {work.reserved_s} s are reserved"
        if work.service in self._controls.stateful and not is_approved(work, self._config):
            return f"service {work.service} {NOT_APPROVED}"
        if work.group in self._gates.paused:
            return f"release {work.group} is paused: {self._gates.paused[work.group]}"
        return self._gates.obstacle(work) or self._host_obstacle(work)

    def _host_obstacle(self, work: Work) -> str | None:
        rank = self._ranks.get(work.type)
        for other in self._on_host[work.host]:
            state = self._ledger.records[other.task].state
            if state == State.GIVEN_UP:
                return f"{work.host} is in the queue of a person ({other.task})"
            before = self._ranks.get(other.type)
            if rank is None or before is None or before >= rank:
                continue
            if state in (State.HELD, State.ROLLED_BACK):
                return f"{other.type} ({other.task}) must come first and is {state.value}"
        return None

    def _waits_for(self, work: Work) -> str | None:
        """Say what a task that may start must wait for; None if it need not wait."""
        if work.host in self._ledger.hosts:
            return f"{work.host} was busy until too late"
        if (work.domain, work.lane) in self._ledger.lanes:
            return f"lane {work.lane} of {work.domain} was busy until too late"
        caps, n_down = self._controls.caps, len(self._ledger.down.get(work.service, ()))
        if caps is not None and n_down >= caps.get(work.service, 1):
            return f"{n_down} hosts of {work.service} were down until too late, its cap"
        ready_s = self._gates.ready_s(work)
        if ready_s is None or ready_s > self._now_s:
            return f"{WAVES_BEFORE}they had not ended and soaked in time for wave {work.wave}"
        rank = self._ranks.get(work.type)
        for other in self._on_host[work.host]:
            before = self._ranks.get(other.type)
            is_before = rank is not None and before is not None and before < rank
            if is_before and self._ledger.records[other.task].state == State.PLANNED:
                return f"{other.type} ({other.task}) must come first and had not started in time"
        return None

    def _has_time(self, work: Work, at_s: int) -> bool:
        return at_s + work.reserved_s <= work.deadline_s

    def _move_on(self, *, is_halted: bool) -> None:
        """Move the plan's clock to the next instant that matters."""
        ledger, now_s = self._ledger, self._now_s
        planned = ledger.planned.values()
        is_waiting = any(work.start_s <= now_s for work in islice(planned, 1))
        later = (work.start_s for work in planned if work.start_s > now_s)
        starts = [] if is_halted else list(islice(later, 1))
        if self._controls.is_simulated and not is_waiting:
            self._look_s = self._watcher.skip(self._look_s, min(starts, default=math.inf))
        instants = [*starts, self._look_s] if ledger.busy else starts
        if is_waiting:
            instants = [*instants, now_s + self._config.poll_s]
        if instants:
            self._controls.wait(min(instants))
            self._now_s = min(instants)

    def _result(self, status: str, why: str) -> RolloutResult:
        return RolloutResult(
            status,
            why,
            self._plan,
            dict(self._ledger.records),
            [str(group) for group in sorted(self._gates.paused)],
            self._controls.audit.file,
            had_work=self._had_work,
        )

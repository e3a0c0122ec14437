"""See how far the running tasks are, and bring each to an end."""

from __future__ import annotations

import math

from models.upgrades.execute.base import Executor, Foreseeing, Progress, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.gates import Gates
from models.upgrades.execute.ledger import FAILED, TAKEN_BACK, UNDONE, Ledger

MOST_ROLLBACKS = 5
"""Requests for the rollback of one task before a person takes over."""
_OVER = (Progress.ROLLED_BACK, Progress.ROLLBACK_FAILED, Progress.COMPLETED)


class Watcher:
    """Looks at what runs or rolls back; every change is in the log before it counts.

    Args:
        ledger: Where each task stands.
        gates: Gates of the releases.
        executor: Who touches hosts.
        config: Polling, limits.
    """

    def __init__(
        self, ledger: Ledger, gates: Gates, executor: Executor, config: ExecuteConfig
    ) -> None:
        self._ledger, self._gates = ledger, gates
        self._executor, self._config = executor, config

    def look(self, now_s: int) -> int:
        """See how far the running tasks are; roll back what is out of time.

        Once per `poll_s` and at each latest safe instant, not at every start.

        Returns:
            When to look again.
        """
        busy = self._ledger.busy
        for work in list(busy.values()):
            progress = self._executor.poll(work, now_s)
            record = self._ledger.records[work.task]
            if progress == Progress.UNKNOWN:
                why = "its start is on record but the executor does not know it"
                if record.state == State.ROLLING_BACK:
                    why = f"{record.reason}; {why}"
                self.close(work, State.GIVEN_UP, now_s, why)
            elif record.state == State.ROLLING_BACK:
                self._watch_rollback(work, progress, now_s)
            elif progress == Progress.COMPLETED:
                self.close(work, State.COMPLETED, now_s, "the executor says so")
            elif progress == Progress.FAILED:
                self.roll_back(work, now_s, FAILED)
            elif now_s >= work.deadline_s:
                why = f"not done at the latest safe instant {work.deadline_s}"
                self.roll_back(work, now_s, why)
        deadlines = [work.deadline_s for work in busy.values() if work.deadline_s > now_s]
        return min([now_s + self._config.poll_s, *deadlines])

    def skip(self, look_s: int, until_s: float) -> int:
        """Pass over looks that would see nothing new; for a clock that need not wait.

        Args:
            look_s: Next look.
            until_s: Where something else happens; looks are passed over up to there.

        Returns:
            The first look of the same rhythm at or after the next change, in seconds.
        """
        busy = self._ledger.busy.values()
        if not isinstance(self._executor, Foreseeing) or not busy:
            return look_s
        latest_s = [work.deadline_s for work in busy if work.deadline_s >= look_s]
        limits_s = [
            since_s + self._config.rollback_limit_s + 1
            for work in busy
            if (since_s := self._ledger.records[work.task].rollback_from_s) is not None
        ]
        changes_s = [self._executor.changes_s(work) for work in busy]
        next_s = min(until_s, *latest_s, *limits_s, *changes_s)
        if next_s <= look_s or next_s == math.inf:
            return look_s
        polls = math.ceil((next_s - look_s) / self._config.poll_s)
        return min([look_s + polls * self._config.poll_s, *latest_s])

    def roll_back(self, work: Work, now_s: int, why: str) -> None:
        """Ask for a rollback, and see whether it is over at once."""
        self._ledger.roll_back(work, now_s, why)
        self._executor.rollback(work, now_s)
        progress = self._executor.poll(work, now_s)
        # What still runs gets until the next look before it is asked again.
        is_undone = why.startswith(TAKEN_BACK) and progress == Progress.COMPLETED
        if progress in _OVER and not is_undone:
            self._watch_rollback(work, progress, now_s)

    def close(self, work: Work, state: State, now_s: int, why: str) -> None:
        """Write a final state; the gate of its release judges anew."""
        self._ledger.close(work, state, now_s, why)
        verdict = self._gates.verdict(work.group)
        if verdict is not None:
            self._ledger.pause(work.group, now_s, verdict)

    def _watch_rollback(self, work: Work, progress: Progress, now_s: int) -> None:
        record = self._ledger.records[work.task]
        is_taken_back = record.reason.startswith(TAKEN_BACK)
        since_s = now_s if record.rollback_from_s is None else record.rollback_from_s
        if progress == Progress.ROLLED_BACK:
            state = State.GIVEN_UP if record.has_failed else State.ROLLED_BACK
            self.close(work, state, now_s, f"{record.reason}{UNDONE}")
        elif progress == Progress.ROLLBACK_FAILED:
            self.close(work, State.GIVEN_UP, now_s, f"{record.reason}; the rollback failed")
        elif progress == Progress.COMPLETED and record.has_failed:
            why = f"{record.reason}, then it was called completed"
            self.close(work, State.GIVEN_UP, now_s, why)
        elif progress == Progress.COMPLETED and not is_taken_back:
            why = f"{record.reason}; it had ended before the rollback began: late"
            self.close(work, State.COMPLETED, now_s, why)
        elif now_s - since_s > self._config.rollback_limit_s:
            why = (
                f"{record.reason}; rolling back for {now_s - since_s} s, at most "
                f"{self._config.rollback_limit_s} s may pass"
            )
            self.close(work, State.GIVEN_UP, now_s, why)
        elif progress == Progress.ROLLING_BACK:
            return
        elif record.n_rollbacks >= MOST_ROLLBACKS:
            why = f"{record.reason}; {record.n_rollbacks} requests to roll back had no effect"
            self.close(work, State.GIVEN_UP, now_s, why)
        else:
            # The request was lost, perhaps with the process that made it.
            self._ledger.roll_back(work, now_s, record.reason)
            self._executor.rollback(work, now_s)

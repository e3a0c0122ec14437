"""The seam between our decisions and whoever touches hosts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable


class State(StrEnum):
    """Where a task of a rollout stands; the last four are final for this plan."""

    PLANNED = "planned"
    RUNNING = "running"
    ROLLING_BACK = "rolling back"
    COMPLETED = "completed"
    ROLLED_BACK = "rolled back"
    """Not done at its latest safe instant; goes back to the backlog."""
    GIVEN_UP = "given up"
    """Automation has no safe next step: the task is in the queue of a person."""
    HELD = "held"
    """Never started, with the reason; goes back to the backlog."""


NO_WAVE = -1
EVERY = "*"
"""All of them, where services or releases are named."""
FINAL = frozenset({State.COMPLETED, State.ROLLED_BACK, State.GIVEN_UP, State.HELD})


class Progress(StrEnum):
    """What an executor knows of a task."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    ROLLING_BACK = "rolling back"
    ROLLED_BACK = "rolled back"
    ROLLBACK_FAILED = "rollback failed"


class Group(NamedTuple):
    """All upgrades of one type to one release: what a gate judges and a pause stops.

    Always compared as a pair: "os v1" to "b" and "os" to "v1 b" read alike.
    """

    type: str
    release: str

    def __str__(self) -> str:
        return f"{self.type} {self.release}".strip()


@dataclass(frozen=True)
class Work:
    """One placed task of a plan; times in seconds of the plan's clock.

    Attributes:
        task: Name of the task, unique in the plan; what an executor must be idempotent by.
        host: Host that is upgraded.
        domain: Maintenance domain.
        service: Service that is without the host meanwhile.
        type: Kind of upgrade.
        release: What is installed; "" where the plan does not say.
        lane: Lane of the domain that it holds.
        wave: Canary wave of its release, from 0; -1: in none.
        start_s: Planned start.
        reserved_s: Time that the policy wants left for a start.
        deadline_s: Latest safe instant: not done by then, it is rolled back.
    """

    task: str
    host: str
    domain: str
    service: str
    type: str
    release: str
    lane: int
    wave: int
    start_s: int
    reserved_s: int
    deadline_s: int

    @property
    def group(self) -> Group:
        """What its gate judges: all upgrades of one type to one release."""
        return Group(self.type, self.release)


class Executor(Protocol):
    """Starts, watches and rolls back the upgrade of one host.

    Calls may be repeated after a crash of the caller, so an implementation keeps what it
    was told by the name of the task.
    """

    @property
    def name(self) -> str:
        """Name for the audit log."""

    def start(self, work: Work, at_s: int) -> None:
        """Begin the upgrade; returns at once."""

    def poll(self, work: Work, at_s: int) -> Progress:
        """Say how far it is.

        Returns:
            UNKNOWN if it was never started. Before a rollback was asked for: RUNNING, then
            COMPLETED or FAILED. Once `rollback` was taken: ROLLING_BACK, then ROLLED_BACK or
            ROLLBACK_FAILED; COMPLETED only if the upgrade had ended before the request came
            and nothing was or will be undone: it then counts as completed, late. RUNNING or
            FAILED after a request say that it was lost; it is made again, a bounded number
            of times. What has ended stays as it is.

            A release that is taken back asks for upgrades that completed long ago: COMPLETED
            then says that the request was lost, and it is made again.
        """

    def rollback(self, work: Work, at_s: int) -> None:
        """Begin to undo it; returns at once, `poll` tells the end.

        May be asked again, and of an upgrade that has completed: its release is taken back.
        """


@runtime_checkable
class Foreseeing(Protocol):
    """An executor that plays a world of its own, so it knows what comes."""

    def changes_s(self, work: Work) -> float:
        """When `poll` begins to say that a running task or rollback has ended, in seconds.

        -inf for a task that was never started.
        """

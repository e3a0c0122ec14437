"""Carry out a plan through an executor: windows, waves, gates, rollback, audit, resume.

Loomworks never executes anything itself: whoever upgrades hosts implements `Executor`. Two
are shipped, one that simulates and one that does nothing.

base.py    Executor, Work, states       executors.py  the two that are shipped
audit.py   append-only log              guards.py     lock and kill switch
gates.py   waves, failure gate          plan_file.py  a recorded plan becomes work
ledger.py  what the log says so far     watch.py      brings what runs to its end
rollout.py the controller               take_back.py  a release is undone
reopen.py  resume, late approvals       durations.py  what a simulation plays
outcome.py table, metrics, summary      config.py     ExecuteConfig
"""

from models.upgrades.execute.audit import (
    HALTED,
    AuditError,
    AuditLog,
    begun_in,
    paused_in,
    read_entries,
)
from models.upgrades.execute.base import Executor, Group, Progress, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.durations import (
    HistoryMismatchError,
    refuse_other_history,
    simulated_failures,
    task_durations,
)
from models.upgrades.execute.executors import (
    AlreadyStartedError,
    NoOpExecutor,
    SimulatedExecutor,
    WorldFileError,
)
from models.upgrades.execute.guards import LockHeldError, RolloutLock, halt_reason
from models.upgrades.execute.outcome import (
    LOCK_LOST,
    STOPPED_BY_GATE,
    RollbackResult,
    RolloutResult,
    Standing,
    execution_metrics,
    execution_summary,
    rollback_metrics,
    rollback_summary,
)
from models.upgrades.execute.plan_file import PlanFile, PlanFileError, read_plan
from models.upgrades.execute.reopen import AmbiguousReleaseError, groups_to_resume
from models.upgrades.execute.rollout import Controls, run_rollout
from models.upgrades.execute.take_back import refuse_unknown_release, take_back

__all__ = [
    "HALTED",
    "LOCK_LOST",
    "STOPPED_BY_GATE",
    "AlreadyStartedError",
    "AmbiguousReleaseError",
    "AuditError",
    "AuditLog",
    "Controls",
    "ExecuteConfig",
    "Executor",
    "Group",
    "HistoryMismatchError",
    "LockHeldError",
    "NoOpExecutor",
    "PlanFile",
    "PlanFileError",
    "Progress",
    "RollbackResult",
    "RolloutLock",
    "RolloutResult",
    "SimulatedExecutor",
    "Standing",
    "State",
    "Work",
    "WorldFileError",
    "begun_in",
    "execution_metrics",
    "execution_summary",
    "groups_to_resume",
    "halt_reason",
    "paused_in",
    "read_entries",
    "read_plan",
    "refuse_other_history",
    "refuse_unknown_release",
    "rollback_metrics",
    "rollback_summary",
    "run_rollout",
    "simulated_failures",
    "take_back",
    "task_durations",
]

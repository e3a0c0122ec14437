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

from models.upgrades.execute.audit import HALTED, AuditError, AuditLog
from models.upgrades.execute.base import Executor, Progress, State, Work
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
    RollbackResult,
    RolloutResult,
    Standing,
    execution_metrics,
    execution_summary,
    rollback_metrics,
    rollback_summary,
)
from models.upgrades.execute.plan_file import PlanFile, PlanFileError, read_plan
from models.upgrades.execute.rollout import Controls, run_rollout
from models.upgrades.execute.take_back import take_back

__all__ = [
    "HALTED",
    "LOCK_LOST",
    "AlreadyStartedError",
    "AuditError",
    "AuditLog",
    "Controls",
    "ExecuteConfig",
    "Executor",
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
    "execution_metrics",
    "execution_summary",
    "halt_reason",
    "read_plan",
    "refuse_other_history",
    "rollback_metrics",
    "rollback_summary",
    "run_rollout",
    "simulated_failures",
    "take_back",
    "task_durations",
]

"""Carry out a plan through an executor: windows, waves, gates, rollback, audit, resume.

Loomworks never executes anything itself: whoever upgrades hosts implements `Executor`. Two
are shipped, one that simulates and one that does nothing.

base.py    Executor, Work, states       executors.py  the two that are shipped
audit.py   append-only log              guards.py     lock and kill switch
gates.py   waves, failure gate          plan_file.py  a recorded plan becomes work
ledger.py  what the log says so far     rollout.py    the controller
outcome.py table, metrics, summary      config.py     ExecuteConfig
"""

from models.upgrades.execute.audit import HALTED, AuditError, AuditLog
from models.upgrades.execute.base import Executor, Progress, State, Work
from models.upgrades.execute.config import ExecuteConfig
from models.upgrades.execute.executors import (
    AlreadyStartedError,
    NoOpExecutor,
    SimulatedExecutor,
    WorldFileError,
    simulated_failures,
    task_durations,
)
from models.upgrades.execute.guards import LockHeldError, RolloutLock, halt_reason
from models.upgrades.execute.outcome import (
    LOCK_LOST,
    RolloutResult,
    execution_metrics,
    execution_summary,
)
from models.upgrades.execute.plan_file import PlanFile, PlanFileError, read_plan
from models.upgrades.execute.rollout import Controls, run_rollout

__all__ = [
    "HALTED",
    "LOCK_LOST",
    "AlreadyStartedError",
    "AuditError",
    "AuditLog",
    "Controls",
    "ExecuteConfig",
    "Executor",
    "LockHeldError",
    "NoOpExecutor",
    "PlanFile",
    "PlanFileError",
    "Progress",
    "RolloutLock",
    "RolloutResult",
    "SimulatedExecutor",
    "State",
    "Work",
    "WorldFileError",
    "execution_metrics",
    "execution_summary",
    "halt_reason",
    "read_plan",
    "run_rollout",
    "simulated_failures",
    "task_durations",
]

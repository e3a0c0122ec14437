"""A rollout plan: which task runs in which window, and why the others do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.upgrades.capacity import caps_by_service, lanes_by_domain, window_opens
from models.upgrades.config import DAY_S, UpgradeConfig
from models.upgrades.history import History
from models.upgrades.schedule.precedence import precedence_ranks
from models.upgrades.splits import Rows, Split

TASK_COLUMNS = ("task", "row", "host", "domain", "service", "type")
ASSIGNMENT_COLUMNS = (
    *TASK_COLUMNS,
    *("window_open_s", "lane", "start_s", "reserved_s", "end_s", "deadline_s", "p50_s", "p90_s"),
)
REFUSAL_COLUMNS = (*TASK_COLUMNS, "reason", "detail")
# Of a plan of a fleet. deadline_s is when a task is rolled back if it is not done: the close
# of the window or the begin of a freeze, less its rollback time. gain is its expected value.
FLEET_ASSIGNMENT_COLUMNS = (
    *(*ASSIGNMENT_COLUMNS, "release", "wave", "value", "p_in_time", "gain"),
)
CAP_RISK_COLUMNS = ("service", "window_open_s", "cap", "hosts", "p_breach", "is_above_limit")
FLEET_REFUSAL_COLUMNS = (*TASK_COLUMNS, "release", "wave", "value", "reason", "detail")


class RefusalReason(StrEnum):
    """Why a task has no place in a plan."""

    NEEDS_LONGER_WINDOW = "needs longer window"
    PRECEDENCE = "precedence"
    HOST_BUSY = "host busy"
    SERVICE_CAP = "service cap"
    DOMAIN_LIMIT = "domain limit"
    NO_CAPACITY = "no capacity"
    EXCLUDED = "excluded"
    FREEZE = "freeze"
    DEADLINE = "deadline"
    WAVE_GATE = "wave gate"
    DOES_NOT_PAY = "does not pay"


@dataclass(frozen=True)
class PlanRules:
    """What every plan must respect.

    Attributes:
        opens: Openings of the daily windows, seconds of the local clock, rising.
        window_s: Length of a window, in seconds.
        lanes: Tasks at a time per domain; one where absent.
        caps: Hosts down at a time per (domain, service); one where absent.
        ranks: Order of types on one host; see `precedence_ranks`.
    """

    opens: NDArray[np.int64]
    window_s: int
    lanes: Mapping[str, int]
    caps: Mapping[tuple[str, str], int]
    ranks: Mapping[str, int]


@dataclass(frozen=True)
class RolloutPlan:
    """Where each task of a backlog goes.

    Attributes:
        assignments: One row per placed task: `ASSIGNMENT_COLUMNS`. Times in seconds of the
            local clock; reserved_s, p50_s and p90_s are durations; end_s is the end that
            was reserved, deadline_s the close of the window.
        refusals: One row per task without a place: `REFUSAL_COLUMNS`.
        policy: Label of the policy whose reservations were packed.
        plan_s: When the plan was made; nothing later was known.
        inputs_hash: SHA-256 of history (or fleet and forecast), config, policy and backlog.
        solver: Who placed the tasks.
        solver_status: "heuristic"; "improved" where a better plan than the heuristic's was found;
            "timed out" or "failed" where the plan is the heuristic's for lack of that.
        objective: Expected value of the plan in completed upgrades, where it was priced.
        bound: No plan under these rules and forecasts is worth more; None: not measured.
        cap_risk: Per service and window how likely more hosts than its cap are down at once:
            `CAP_RISK_COLUMNS`; None: not measured.
    """

    assignments: pd.DataFrame
    refusals: pd.DataFrame
    policy: str
    plan_s: int
    inputs_hash: str
    solver: str = "greedy"
    solver_status: str = "heuristic"
    objective: float | None = None
    bound: float | None = None
    cap_risk: pd.DataFrame | None = None

    @property
    def frame(self) -> pd.DataFrame:
        """All tasks in one table, placed ones first; `status` is assigned or refused."""
        return pd.concat(
            [
                self.assignments.assign(status="assigned"),
                self.refusals.assign(status="refused"),
            ],
            ignore_index=True,
        )

    def to_json(self) -> str:
        """Return the plan as one JSON document."""
        document = {
            "policy": self.policy,
            "plan_s": self.plan_s,
            "inputs_hash": self.inputs_hash,
            "solver": self.solver,
            "solver_status": self.solver_status,
            "objective": self.objective,
            "bound": self.bound,
            "cap_risk": None
            if self.cap_risk is None
            else json.loads(self.cap_risk.to_json(orient="records")),
            "assignments": json.loads(self.assignments.to_json(orient="records")),
            "refusals": json.loads(self.refusals.to_json(orient="records")),
        }
        return json.dumps(document, indent=1, allow_nan=False)


def plan_rules(history: History, split: Split, config: UpgradeConfig) -> PlanRules:
    """Derive windows, lanes and caps from what was known when the test part began."""
    first = window_opens(split.test_from_s, split.test_from_s, config)[0]
    return PlanRules(
        opens=first + np.arange(config.horizon_days, dtype=np.int64) * DAY_S,
        window_s=config.window_s,
        lanes=lanes_by_domain(history, split.select_from_s, config),
        caps=caps_by_service(history, split.test_from_s, config),
        ranks=precedence_ranks(),
    )


def backlog_rows(history: History, split: Split, config: UpgradeConfig) -> Rows:
    """Rows of the tasks requested within the horizon: the work orders of the plan."""
    start_s = history.seconds("start_s")[split.test]
    return split.test[start_s < split.test_from_s + config.horizon_days * DAY_S]


def backlog_tasks(history: History, rows: Rows) -> pd.DataFrame:
    """Describe tasks as a plan names them: `TASK_COLUMNS`, no durations, no ends."""
    events = history.events.iloc[rows]
    columns = {"event_id": "task", "host_id": "host"}
    tasks = events.assign(row=rows).rename(columns=columns)[list(TASK_COLUMNS)]
    return tasks.reset_index(drop=True)

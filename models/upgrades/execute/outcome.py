"""What came of a rollout: a table, figures, a summary for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from models.figures import Figure, FlowSummary
from models.upgrades.config import CostModel
from models.upgrades.execute.audit import FINISHED
from models.upgrades.execute.base import State
from models.upgrades.execute.plan_file import PlanFile

if TYPE_CHECKING:
    from models.upgrades.execute.ledger import Record

LOCK_LOST = "lock lost"
COLUMNS = (
    *("task", "host", "domain", "service", "type", "release", "wave", "lane", "start_s"),
    *("reserved_s", "deadline_s", "state", "reason", "real_start_s", "real_end_s"),
)


@dataclass(frozen=True)
class RolloutResult:
    """Where a rollout stands after a run.

    Attributes:
        status: finished, halted or lock lost.
        why: Reason of the status.
        plan: What was carried out.
        records: Where each placed task stands.
        paused: Releases that a gate paused.
    """

    status: str
    why: str
    plan: PlanFile
    records: Mapping[str, Record]
    paused: list[str]

    @property
    def frame(self) -> pd.DataFrame:
        """One row per placed task: `COLUMNS`; times NaN where it never started or ended."""
        rows = []
        for work in self.plan.works:
            record = self.records[work.task]
            rows.append(
                {
                    **work.__dict__,
                    "state": record.state.value,
                    "reason": record.reason,
                    "real_start_s": record.start_s,
                    "real_end_s": record.end_s if record.start_s is not None else None,
                }
            )
        frame = pd.DataFrame(rows, columns=list(COLUMNS))
        return frame.astype({"real_start_s": float, "real_end_s": float})

    @property
    def human_queue(self) -> pd.DataFrame:
        """Tasks that automation gave up, with the reason; a person takes over."""
        frame = self.frame
        return frame[frame["state"] == State.GIVEN_UP].reset_index(drop=True)

    def count(self, state: State) -> int:
        """Number of tasks in a state."""
        return sum(record.state == state for record in self.records.values())


def execution_metrics(result: RolloutResult, costs: CostModel) -> dict[str, float | None]:
    """Figures of a rollout under `execute/`.

    `cost` prices what happened as the simulator does, without idle time: what rolled back or
    was given up after a start counts as cancelled. `planned_cost` is that of a rollout in
    which every placed task is completed.
    """
    counts = {f"execute/{state.name.lower()}": float(result.count(state)) for state in State}
    started = [record for record in result.records.values() if record.start_s is not None]
    spans = [(record.start_s, record.end_s) for record in started]
    completed = result.count(State.COMPLETED)
    ended = [r for r in started if r.state in (State.ROLLED_BACK, State.GIVEN_UP)]
    cost = costs.cancel_cost * len(ended) - costs.completed_value * completed
    n_placed = len(result.plan.works)
    busy_s = sum(end - start for start, end in spans if start is not None and end is not None)
    return {
        **counts,
        "execute/placed": float(n_placed),
        "execute/started": float(len(started)),
        "execute/cancellation_rate": len(ended) / len(started) if started else None,
        "execute/failed": float(sum(record.has_failed for record in started)),
        "execute/paused_releases": float(len(result.paused)),
        "execute/busy_lane_h": busy_s / 3_600,
        "execute/cost": cost,
        "execute/planned_cost": -costs.completed_value * n_placed,
    }


def execution_summary(result: RolloutResult, executor: str, *, is_dry: bool) -> FlowSummary:
    """Say what a run did; beside the figures stands the plan as it was made."""
    placed = len(result.plan.works)
    completed, held = result.count(State.COMPLETED), result.count(State.HELD)
    rolled_back, given_up = result.count(State.ROLLED_BACK), result.count(State.GIVEN_UP)
    what = "walked through (dry run)" if is_dry else "carried out"
    # A rollout that stopped early must not read like one that went through.
    status = result.status if result.status == FINISHED else f"{result.status} ({result.why})"
    paused = f"; paused: {', '.join(result.paused)}" if result.paused else ""
    return FlowSummary(
        did=(
            f"{what} a plan of {placed} upgrades with the {executor} executor, {status}: "
            f"{completed} completed, {rolled_back} rolled back, {given_up} given up to a person, "
            f"{held} held{paused}"
        ),
        baseline="the plan, all of it completed",
        figures=(
            Figure("upgrades completed", completed, placed, "{:,.0f}"),
            Figure("rolled back", rolled_back, 0, "{:,.0f}"),
            Figure("in the queue of a person", given_up, 0, "{:,.0f}"),
            Figure("held", held, 0, "{:,.0f}"),
        ),
    )

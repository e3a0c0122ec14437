"""What came of a rollout: a table, figures, a summary for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from models.figures import Figure, FlowSummary
from models.upgrades.config import CostModel
from models.upgrades.execute.audit import FINISHED
from models.upgrades.execute.base import State
from models.upgrades.execute.gates import WAVES_BEFORE
from models.upgrades.execute.ledger import Record, taken_back
from models.upgrades.execute.plan_file import PlanFile
from models.upgrades.execute.reopen import NOT_APPROVED

LOCK_LOST = "lock lost"
STOPPED_BY_GATE = "paused"
"""Every task is in a final state, and a release waits for a person."""
DRY = "dry run, nothing was started"
MOST_NAMES = 8
_APPROVAL = "for approval"
_NO_TIME, _TOO_LATE = "without the time reserved for them", "busy until too late"
# What stands in the reason of a held task, by the words of the summary.
_HELD = (
    (_APPROVAL, NOT_APPROVED),
    ("of a paused release", " is paused: "),
    ("behind earlier waves", WAVES_BEFORE),
    (_NO_TIME, "are reserved"),
    ("on hosts in the queue of a person", "in the queue of a person"),
    ("behind other work of their host", "must come first"),
    (_TOO_LATE, "until too late"),
)
COLUMNS = (
    *("task", "host", "domain", "service", "type", "release", "wave", "lane", "start_s"),
    *("reserved_s", "deadline_s", "state", "reason", "real_start_s", "real_end_s"),
)


@dataclass(frozen=True)
class Standing:
    """Where the tasks of a plan stand after a run.

    Attributes:
        status: finished, paused, halted or lock lost.
        why: Reason of the status.
        plan: What was carried out.
        records: Where each placed task stands.
    """

    status: str
    why: str
    plan: PlanFile
    records: Mapping[str, Record]

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

    @property
    def status_words(self) -> str:
        """The status; with its reason where the run stopped early, to be told apart."""
        is_over = self.status in (FINISHED, STOPPED_BY_GATE)
        return self.status if is_over else f"{self.status} ({self.why})"


@dataclass(frozen=True)
class RolloutResult(Standing):
    """Where a rollout stands after a run.

    Attributes:
        paused: Releases that are paused.
        log: The audit log.
        had_work: Whether anything was left to do when the run began.
    """

    paused: list[str]
    log: Path
    had_work: bool = True


@dataclass(frozen=True)
class RollbackResult(Standing):
    """Where the rollback of a release stands after a run.

    Attributes:
        release: What is taken back.
        left: Tasks that were to be undone and are left as they are, with the reason.
    """

    release: str
    left: Mapping[str, str]

    @property
    def touched(self) -> Mapping[str, Record]:
        """Tasks whose rollback was asked for because of the release, in this run or before."""
        begin = taken_back(self.release)
        return {
            task: record for task, record in self.records.items() if record.reason.startswith(begin)
        }


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
    counts = {state: result.count(state) for state in State}
    return FlowSummary(
        did=_did(result, executor, counts, is_dry=is_dry),
        baseline="the plan, all of it completed",
        figures=(
            Figure("upgrades completed", counts[State.COMPLETED], placed, "{:,.0f}"),
            Figure("rolled back", counts[State.ROLLED_BACK], None, "{:,.0f}"),
            Figure("in the queue of a person", counts[State.GIVEN_UP], None, "{:,.0f}"),
            Figure("held", counts[State.HELD], None, "{:,.0f}"),
        ),
    )


def _did(result: RolloutResult, executor: str, counts: Mapping[State, int], *, is_dry: bool) -> str:
    placed = len(result.plan.works)
    became = (
        f"{counts[State.COMPLETED]} completed, {counts[State.ROLLED_BACK]} rolled back, "
        f"{counts[State.GIVEN_UP]} given up to a person, {counts[State.HELD]} held"
    )
    held = held_words(result)
    became += f" ({held})" if held else ""
    if result.paused:
        names = ", ".join(result.paused)
        which = "it" if len(result.paused) == 1 else "them"
        became += f"; paused: {names} (once a person has looked, name {which} in resume)"
    if not result.had_work and result.status in (FINISHED, STOPPED_BY_GATE):
        return (
            f"nothing left to do: {result.log} says that all {placed} tasks have ended: {became}. "
            "Use another seed to simulate anew, or move the log and its neighbours away"
        )
    what = f"{DRY}: walked through" if is_dry else "carried out"
    return (
        f"{what} a plan of {placed} upgrades with the {executor} executor, "
        f"{result.status_words}: {became}"
    )


def held_words(result: RolloutResult) -> str:
    """Say why tasks were held, most frequent reason first; what to set where that helps."""
    kinds: Counter[str] = Counter()
    services: set[str] = set()
    for work in result.plan.works:
        record = result.records[work.task]
        if record.state != State.HELD:
            continue
        kind = next((name for name, said in _HELD if said in record.reason), "another reason")
        kinds[kind] += 1
        if kind == _APPROVAL:
            services.add(work.service)
    words = [f"{n} {kind}" for kind, n in kinds.most_common()]
    if services:
        shown = sorted(services)[:MOST_NAMES]
        more = f" and {len(services) - len(shown)} more" if len(services) > len(shown) else ""
        said = f"{kinds[_APPROVAL]} {_APPROVAL}"
        place = words.index(said)
        words[place] = (
            f"{said} of {', '.join(shown)}{more}: to start them, name these in approved and run "
            "again"
        )
    said = ", ".join(words)
    if kinds[_NO_TIME] or kinds[_TOO_LATE]:
        # Else the same plan and durations seem to give two answers.
        said += "; the replay of a plan starts such tasks however little time is left"
    return said


def rollback_metrics(result: RollbackResult) -> dict[str, float | None]:
    """Figures of a release that is taken back, under `rollback/`."""
    counts = Counter(record.state for record in result.touched.values())
    return {
        "rollback/undone": float(counts[State.ROLLED_BACK]),
        "rollback/rolling_back": float(counts[State.ROLLING_BACK]),
        "rollback/given_up": float(counts[State.GIVEN_UP]),
        "rollback/left": float(len(result.left)),
    }


def rollback_summary(
    result: RollbackResult, executor: str, *, is_dry: bool, source: str = ""
) -> FlowSummary:
    """Say what came back; `source` says by which log."""
    counts = Counter(record.state for record in result.touched.values())
    asked = len(result.touched) + len(result.left)
    own = {work.task for work in result.plan.works if work.release == result.release}
    undone = [t for t, record in result.touched.items() if record.state == State.ROLLED_BACK]
    n_own = sum(task in own for task in undone)
    left = "; ".join(f"{n} left: {why}" for why, n in Counter(result.left.values()).most_common(3))
    services = sorted(
        {w.service for w in result.plan.works if NOT_APPROVED in result.left.get(w.task, "")}
    )
    if services:
        left += f"; to undo them, name {', '.join(services)} in approved and run again"
    what = f"{DRY}: walked through the rollback of" if is_dry else "took back"
    return FlowSummary(
        did=(
            f"{what} release {result.release} with the {executor} executor, "
            f"{result.status_words}: {len(undone)} of {asked} upgrades came back "
            f"({n_own} of it, {len(undone) - n_own} built on it), {counts[State.GIVEN_UP]} given "
            "up to a person" + (f"; {left}" if left else "") + (f"; {source}" if source else "")
        ),
        baseline="everything of the release that had begun",
        figures=(
            Figure("upgrades undone", len(undone), asked, "{:,.0f}"),
            Figure("in the queue of a person", counts[State.GIVEN_UP], None, "{:,.0f}"),
            Figure("left as they are", len(result.left), None, "{:,.0f}"),
        ),
    )

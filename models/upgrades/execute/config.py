"""What defines an execution of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from models.config import Config
from models.upgrades.config import CostModel


class ExecuteConfig(Config):
    """What defines an execution of a plan."""

    plan: Path | None = None
    """Plan to carry out, the plan.parquet of a planning run; None: from the tracker."""
    plan_flow: Literal["plan-upgrades", "plan-fleet"] = "plan-upgrades"
    """Flow whose tracked plan is carried out."""
    plan_run: str | None = None
    """Tracked run of that flow whose plan is carried out; None: the newest finished one."""
    dry_run: bool = True
    """Only walk through the plan with an executor that does nothing."""
    data: Path | None = None
    """History that simulated durations come from; None: that of the plan's tracked run, and
    the bundled LANL file for a plan that is a file."""
    mapping: Path | None = None
    """YAML file that says what the columns of `data` mean; None: that of the plan's run, where
    `data` is its too."""
    durations: Literal["true", "drawn"] = "true"
    """Simulated durations: those that the history recorded, or drawn per type from what had
    ended before the plan was made. Tasks without a recorded one are always drawn."""
    failure_share: float = Field(0.0, ge=0, le=1)
    """Share of simulated upgrades that fail at their end."""
    rollback_s: int | None = Field(None, ge=0)
    """Length of a simulated rollback, in seconds; None: what the fleet says of each type, 0
    without a fleet."""
    rollback_limit_s: int = Field(21_600, ge=60)
    """A rollback that lasts longer goes to a person, in seconds; several times the longest
    that is expected."""
    stateful: tuple[str, ...] = ()
    """Services that keep state: their tasks start only when approved."""
    fleet: Path | None = None
    """Fleet folder of the plan: its stateful services, order of types and caps; None: that of
    the plan's tracked run."""
    approved: tuple[str, ...] = ()
    """Stateful services whose tasks may start; `*` for all."""
    halt_file: Path | None = None
    """Kill switch: while this file exists nothing starts; None: `execute/HALT` under
    LOOM_HOME."""
    gate_failure_share: float = Field(0.1, ge=0, lt=1)
    """A release pauses when more than this share of its ended upgrades failed."""
    gate_min_ended: int = Field(5, ge=1)
    """Ended upgrades of a release before its gate judges."""
    soak_s: int = Field(0, ge=0)
    """Time between the real end of a wave and the first start of the next, in seconds."""
    wave_quorum: float = Field(0.5, ge=0, le=1)
    """Share of each wave that must really have been tried before the next may start."""
    fail_on_pause: bool = False
    """Let the run fail when it ends with a paused release, for scripts that look at exit codes."""
    resume: tuple[str, ...] = ()
    """Paused releases that go on, by name or as "type release"; `*` for all: a person has
    looked and decided so. What they missed is moved by whole days into later windows."""
    rollback: str | None = None
    """Release that is taken back: what the audit log says has begun of it is undone, in
    reverse order, and nothing more of it starts. The plan itself is not carried on."""
    why: str = ""
    """Why somebody resumes or rolls back, for the audit log."""
    poll_s: int = Field(300, ge=1)
    """Time between two looks at what runs, in seconds."""
    costs: CostModel = CostModel()
    """What outcomes are worth, for the figures."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of drawn durations and failures."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.rollback is not None and self.resume:
            raise ValueError(
                f"asked to roll back {self.rollback} and to resume {', '.join(self.resume)}; do "
                "one after the other"
            )
        if self.rollback_s is not None and self.rollback_s >= self.rollback_limit_s:
            raise ValueError(
                f"rollback_s is {self.rollback_s} and rollback_limit_s {self.rollback_limit_s}: "
                "every rollback would go to a person; raise rollback_limit_s"
            )
        return self

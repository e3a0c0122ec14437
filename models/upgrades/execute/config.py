"""What defines an execution of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

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
    """History that simulated durations come from; None: the bundled LANL file."""
    mapping: Path | None = None
    """YAML file that says what the columns of `data` mean, for a history of your own."""
    durations: Literal["true", "drawn"] = "true"
    """Simulated durations: those that the history recorded, or drawn per type from what had
    ended before the plan was made. Tasks without a recorded one are always drawn."""
    failure_share: float = Field(0.0, ge=0, le=1)
    """Share of simulated upgrades that fail at their end."""
    rollback_s: int = Field(0, ge=0)
    """Length of a simulated rollback, in seconds."""
    stateful: tuple[str, ...] = ()
    """Services that keep state: their tasks start only when approved."""
    fleet: Path | None = None
    """Fleet folder of the plan; adds its stateful services and its order of types."""
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
    resume_paused: bool = False
    """Go on with releases that a gate paused: a person has looked and decided so."""
    poll_s: int = Field(300, ge=1)
    """Time between two looks at what runs, in seconds."""
    costs: CostModel = CostModel()
    """What outcomes are worth, for the figures."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of drawn durations and failures."""

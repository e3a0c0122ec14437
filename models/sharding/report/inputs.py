"""What a page is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.sharding.constants import DEFAULT, Constants
from models.sharding.job import Job
from models.sharding.layout import LayoutTable
from models.sharding.profile.base import Profile
from models.sharding.propose import ShardingPlan

if TYPE_CHECKING:
    from models.sharding.diagnosis import Diagnosis
    from models.sharding.knowledge.index import Item
    from models.sharding.verify import Check


@dataclass(frozen=True)
class ShotsLine:
    """Best so far against shots of one tuner."""

    name: str
    best: tuple[float, ...]
    """Speed of the best so far after each shot, over that of the fastest known."""


@dataclass(frozen=True)
class PlanReportInput:
    """A plan and everything that is known around it; what is None or empty has no section."""

    job: Job
    plan: ShardingPlan
    constants: Constants = DEFAULT
    """Those that the plan was made with."""
    table: LayoutTable | None = None
    """Candidates that the plan chose from; None: all legal layouts."""
    profile: Profile | None = None
    diagnosis: Diagnosis | None = None
    checks: Sequence[Check] = ()
    """What verification found, one per proposal."""
    knowledge: Sequence[Item] = ()
    """Texts that were retrieved."""
    shots: Sequence[ShotsLine] = ()
    command: str = ""
    """The command that makes this plan again."""
    versions: Sequence[tuple[str, str]] = ()
    """Name and version or digest of what took part."""

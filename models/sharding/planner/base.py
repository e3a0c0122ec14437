"""The protocol of a planner: a job and what is known of it in, proposals with reasons out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from models.sharding.constants import DEFAULT, Constants
from models.sharding.job import Job
from models.sharding.knowledge.recall import Recalled
from models.sharding.planner.justify import Justification
from models.sharding.propose import Infeasible, Prior, Proposal, ShardingPlan

Author = Literal["analytic", "language model", "both"]
"""Who proposed a layout."""


class Diagnosed(Protocol):
    """What a planner reads of a diagnosis (`models.sharding.diagnosis.Diagnosis` is one).

    Where it has `evidence` by id too, a language model's prose may state those numbers.
    """

    @property
    def sentences(self) -> Sequence[str]:
        """The diagnosis in words."""


@dataclass(frozen=True)
class PlanContext:
    """What is known when a job is answered."""

    constants: Constants = DEFAULT
    """Of the literature or of a site."""
    prior: Prior | None = None
    """Added to the log of predicted times before ranking."""
    correction: Prior | None = None
    """What runs of the site add to the log of predicted times: layouts of a language model are
    held against the analytic ones by predicted time with it, not by the rank."""
    count: int = 3
    """Proposals that are wanted."""
    diagnosis: Diagnosed | None = None
    recalled: Recalled | None = None
    """Documents and cases."""


@dataclass(frozen=True)
class Planned:
    """A plan, who made it and on what it rests."""

    plan: ShardingPlan
    proposer: str
    justifications: tuple[Justification, ...]
    """One per proposal, in their order."""
    authors: tuple[Author, ...]
    """One per proposal, in their order."""
    fallback_reason: str | None = None
    """Why the answer is the analytic one although another planner was asked; None: it is not."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Layouts of the language model that are not among the proposals, and why."""
    withheld: Mapping[str, str] = field(default_factory=dict)
    """Ids of retrieved texts that the language model was not shown, and why."""
    calls: int = 0
    """Calls of the language model, repairs too."""
    tokens: int = 0
    """Tokens of those calls, prompts and replies."""

    @property
    def proposals(self) -> tuple[Proposal, ...]:
        """Those of the plan."""
        return self.plan.proposals

    @property
    def infeasible(self) -> Infeasible | None:
        """Why there are none."""
        return self.plan.infeasible


class Proposer(Protocol):
    """Proposes layouts for a job."""

    @property
    def name(self) -> str:
        """For records and reports."""

    def propose(self, job: Job, context: PlanContext) -> Planned:
        """Return proposals that are legal and fit, or why there are none."""

"""The default planner: the cost model alone, deterministic."""

from __future__ import annotations

from dataclasses import replace

from models.sharding.job import Job
from models.sharding.planner.base import PlanContext, Planned
from models.sharding.planner.justify import justify
from models.sharding.propose import propose


class AnalyticProposer:
    """Fits first, then what is fast, then three that differ; see `propose`."""

    name = "analytic"

    def propose(self, job: Job, context: PlanContext) -> Planned:
        """Return the proposals of the cost model, each with its claims.

        Raises:
            ConfigError: `context.count` is below 1.
        """
        plan = propose(job, context.constants, context.count, context.prior)
        reasons = justify(plan.proposals, job, context.recalled)
        spoken = tuple(
            replace(one, justification=reason.sentences)
            for one, reason in zip(plan.proposals, reasons, strict=True)
        )
        plan = replace(plan, proposals=spoken)
        return Planned(plan, self.name, reasons, tuple("analytic" for _ in spoken))

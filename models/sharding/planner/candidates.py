"""Layouts that somebody else proposes: what was left open is filled in, then all is checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.sharding.job import Job
from models.sharding.layout import AXES, REMATS, Layout, LayoutTable, why_illegal
from models.sharding.memory import memory_use
from models.sharding.planner.base import PlanContext
from models.sharding.propose import Proposal, cost_of, propose
from models.sharding.serving import ServeCost
from models.sharding.space import enumerate_layouts

MOST = 3
"""Layouts that are looked at."""
LARGEST = 2**20
"""No axis is larger than this."""
_KNOBS = ("interleave", "micro_batch", "zero")

_SIZE = {"type": "integer", "minimum": 1, "maximum": LARGEST}
SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["layouts"],
    "properties": {
        "layouts": {
            "type": "array",
            "minItems": 1,
            "maxItems": MOST,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["reason"],
                "properties": {
                    **dict.fromkeys((*AXES, "interleave", "micro_batch"), _SIZE),
                    "zero": {"type": "integer", "minimum": 0, "maximum": 1},
                    "remat": {"type": "string", "enum": list(REMATS)},
                    "reason": {"type": "string", "maxLength": 600},
                    "sources": {
                        "type": "array",
                        "maxItems": 8,
                        "items": {"type": "string", "maxLength": 80},
                    },
                },
            },
        }
    },
}
"""What a planner answers: axes that are left out are 1, the other keys are filled in."""


class Candidate(NamedTuple):
    """A layout that keeps the rules, or why it does not."""

    layout: Layout
    refusal: str
    """Empty: it is legal, fits and keeps its service level."""
    reason: str
    """What its proposer said of it."""
    sources: tuple[str, ...]
    """Ids that its proposer cites."""


class Checker:
    """Checks layouts for one job as the analytic planner checks its own.

    Args:
        job: What they answer.
        context: Constants and prior.
        must_be_sure: Whether the upper end of the memory interval must fit, as it must where
            some layout's does; else its middle.
    """

    def __init__(self, job: Job, context: PlanContext, must_be_sure: bool) -> None:
        self.job = job
        self.context = context
        self._must_be_sure = must_be_sure
        self._known = enumerate_layouts(job)

    def check(self, values: Mapping[str, Any]) -> Candidate:
        """Complete one layout of an answer that fits `SCHEMA`, and check it."""
        layout = self._complete(values)
        sources = tuple(dict.fromkeys(values.get("sources", ())))
        return Candidate(layout, self.refusal(layout), str(values["reason"]), sources)

    def _complete(self, values: Mapping[str, Any]) -> Layout:
        """Fill in what was left open: the best that is legal and fits, else the defaults."""
        named = {f.name for f in fields(Layout)} & set(values)
        given = {axis: int(values.get(axis, 1)) for axis in AXES}
        given |= {knob: int(values[knob]) for knob in _KNOBS if knob in named}
        plain = Layout(**given, remat=values.get("remat", "full"))
        # Splits of fsdp over both dimensions are equivalent and not enumerated.
        like = given | {"fsdp": given["fsdp"] * given["fsdp_transpose"], "fsdp_transpose": 1}
        keep = np.ones(self._known.size, dtype=np.bool_)
        for key, size in like.items():
            keep &= getattr(self._known, key) == size
        if "remat" in named:
            keep &= self._known.remat == REMATS.index(values["remat"])
        if not keep.any():
            return plain
        like_it = self._known.take(keep)
        need = self._need(like_it)
        fits = need <= self.job.place.chip.hbm_bytes
        found = like_it.row(int(np.argmin(need)))
        if fits.any():
            context = self.context
            best = propose(self.job, context.constants, 1, context.prior, like_it.take(fits))
            found = best.proposals[0].layout if best.proposals else found
        split = {axis: given[axis] for axis in ("fsdp", "fsdp_transpose")}
        return Layout(**{**found.__dict__, **split})

    def _need(self, table: LayoutTable) -> NDArray[np.float64]:
        """Return the bytes per chip that must fit."""
        use = memory_use(table, self.job, self.context.constants)
        return use.high if self._must_be_sure else use.total

    def refusal(self, layout: Layout) -> str:
        """Return why a layout cannot be proposed; empty: it can."""
        sizes = [getattr(layout, axis) for axis in AXES if axis != "expert"]
        chips = self.job.place.chips
        # Exact, and first: products of large sizes do not fit the columns of a table.
        if math.prod(sizes) > chips or layout.expert > chips:
            return (
                f"illegal: the axes multiply to {math.prod(sizes)} (expert={layout.expert}), the "
                f"slice has {chips} chips; axis sizes must divide {chips}"
            )
        broken = why_illegal(layout, self.job)
        if broken:
            return f"illegal: {'; '.join(broken)}"
        table, work = LayoutTable.of([layout]), self.job.workload
        need = float(self._need(table)[0])
        capacity = self.job.place.chip.hbm_bytes
        if need > capacity:
            end = "at its 90 % quantile" if self._must_be_sure else "in the middle"
            return (
                f"out of memory: {need / 1e9:.3g} GB per chip {end}, "
                f"{self.job.place.chip.name} has {capacity / 1e9:.3g} GB"
            )
        cost = cost_of(table, self.job, self.context.constants)
        if isinstance(cost, ServeCost):
            levels = (("ttft_s", work.ttft_s, cost.ttft_s), ("tpot_s", work.tpot_s, cost.tpot_s))
            late = [
                f"{name} {float(found[0]):.3g} s, asked {most} s"
                for name, most, found in levels
                if most is not None and found[0] > most
            ]
            if late:
                return f"too slow for its service level: {', '.join(late)}"
        return ""

    def predict(self, layout: Layout) -> Proposal | None:
        """Return what a layout should take; None: it was refused."""
        one = LayoutTable.of([layout])
        plan = propose(self.job, self.context.constants, 1, self.context.prior, one)
        return plan.proposals[0] if plan.proposals else None

    def seconds(self, proposal: Proposal) -> float:
        """Return the predicted step with the corrections of the site."""
        prior, one = self.context.correction, LayoutTable.of([proposal.layout])
        pull = float(prior(one, self.job)[0]) if prior else 0.0
        return proposal.step_s.middle * math.exp(pull)

"""Played language models, a played diagnosis, and a prior that fixes how meshes rank."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.llm import ScriptedModel
from models.sharding import Job
from models.sharding.layout import LayoutTable
from models.sharding.profile.base import Evidence
from models.sharding.propose import cost_of


@dataclass
class Diagnosed:
    """A diagnosis as a planner reads it."""

    sentences: tuple[str, ...] = ("The step is bound by fsdp: 21.5 % [share.fsdp] of it.",)
    evidence: Mapping[str, Evidence] = field(
        default_factory=lambda: {
            "share.fsdp": Evidence("share.fsdp", 0.215, "share", "x", "measured")
        }
    )


def as_if(table: LayoutTable, job: Job) -> NDArray[np.float64]:
    """Return a prior after which meshes rank as tests say, whatever the cost model says.

    fsdp=16 takes 1 s, fsdp=8 context=2 1.02 s, fsdp=8 tensor=2 1.1 s, fsdp=4 tensor=4 1.2 s,
    others 1.5 s (the upper end of the first's interval is below 1.4 s); larger micro-batches and
    more recomputation take a little more.
    """
    seconds = np.full(table.size, 1.5)
    alone = table.weight_shards * table.tensor * table.context == 16
    seconds[alone & (table.weight_shards == 4) & (table.tensor == 4)] = 1.2
    seconds[alone & (table.weight_shards == 8) & (table.tensor == 2)] = 1.1
    seconds[alone & (table.weight_shards == 8) & (table.context == 2)] = 1.02
    seconds[alone & (table.weight_shards == 16)] = 1.0
    seconds *= 1 + 1e-4 * table.micro_batch + 1e-3 * table.remat
    prior: NDArray[np.float64] = np.log(seconds / cost_of(table, job).step_s)
    return prior


def answer(*layouts: Mapping[str, Any]) -> str:
    """Return layouts as a language model would write them."""
    return json.dumps({"layouts": [{"reason": "it is balanced", **one} for one in layouts]})


def says(*layouts: Mapping[str, Any]) -> ScriptedModel:
    """Return a model that answers with these layouts."""
    return ScriptedModel([answer(*layouts)])

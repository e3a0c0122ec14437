"""What answers a shot: rows of a measured landscape, or a simulated site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.sharding.constants import DEFAULT, Constants
from models.sharding.cost import step_cost
from models.sharding.job import Job
from models.sharding.landscapes import Scenario
from models.sharding.layout import LayoutTable
from models.sharding.memory import memory_use
from models.sharding.residual import position
from models.sharding.space import enumerate_layouts
from models.sharding.specs import Slice, Workload, find_model

Floats = NDArray[np.float64]
SIMULATED: tuple[tuple[str, str, int, int], ...] = (
    ("llama3.1-8b", "h100:16", 8192, 128),
    ("llama3.1-70b", "h100:64", 4096, 256),
    ("llama3.1-8b", "v6e:8x8", 8192, 128),
    ("qwen3-30b-a3b", "v5p:2x4x4", 4096, 256),
)
"""Model, slice, tokens and sequences of the simulated sites: dense and MoE, GPUs and tori."""


@dataclass(frozen=True)
class Truth:
    """Distinct layouts and what each takes."""

    name: str
    kind: Literal["measured", "simulated"]
    job: Job
    table: LayoutTable
    step_s: Floats
    """Seconds of a step, shape (n_layouts,); NaN: it does not run."""

    @property
    def oracle_s(self) -> float:
        """The fastest step."""
        return float(np.nanmin(self.step_s))

    def shoot(self, row: int) -> float | None:
        """Run one layout: seconds of a step, or None."""
        seconds = float(self.step_s[row])
        return seconds if np.isfinite(seconds) else None


def measured_truths(scenarios: Sequence[Scenario]) -> list[Truth]:
    """Return scenarios in which something ran; repeated layouts count by their best run.

    Layouts are sorted by their sizes: files list the fastest first, which would tell those that
    go by rows.
    """
    found = []
    for one in scenarios:
        if not one.is_ok.any():
            continue
        columns = np.stack(one.runs.table, axis=1)
        _, first, back = np.unique(columns, axis=0, return_index=True, return_inverse=True)
        best = np.full(len(first), np.inf)
        np.minimum.at(best, back.reshape(-1), np.where(one.is_ok, one.runs.step_s, np.inf))
        steps = np.where(np.isfinite(best), best, np.nan)
        table = one.runs.table.take(first)
        found.append(Truth(one.name, "measured", one.runs.job, table, steps))
    return found


def simulated_truths(seed: int) -> list[Truth]:
    """Return one site per entry of `SIMULATED`, its constants hidden and drawn by the seed."""
    random = np.random.default_rng((seed, 7))
    truths = []
    for model, place, length, batch in SIMULATED:
        work = Workload(seq_len=length, global_batch=batch)
        job = Job(find_model(model), work, Slice.parse(place))
        truths.append(simulate(job, random, f"{model} on {place}, site {seed}"))
    return truths


def simulate(job: Job, random: np.random.Generator, name: str) -> Truth:
    """Return what a made-up site answers for every legal layout.

    Constants are drawn evenly over wide ranges, with the traits that measured sites show: a slow
    network, transfers between stages far below the link's rate, congestion. Beside them stand
    differences that no constant explains, alike for near layouts. A layout fails where its memory
    under hidden constants exceeds the capacity, a few for no reason at all.
    """
    table = enumerate_layouts(job)
    hidden = _hidden(random)
    where = position(table, job)
    where = np.column_stack([where, table.remat])
    # A sum of random waves over the axes: smooth, and unknown to every tuner.
    waves = random.normal(0, 0.7, (12, where.shape[1]))
    phases = random.uniform(0, 2 * np.pi, 12)
    unexplained = np.sin(where @ waves.T + phases).mean(axis=1) * np.sqrt(2 * 12) * 0.08
    steps = step_cost(table, job, hidden).step_s * np.exp(unexplained)
    steps = steps * np.exp(random.normal(0, 0.01, table.size))
    usable = job.place.chip.hbm_bytes * random.uniform(0.85, 1.0)
    crashes = random.uniform(size=table.size) < 0.02
    fails = (memory_use(table, job, hidden).total > usable) | crashes
    if fails.all():
        fails = memory_use(table, job, hidden).total > 2 * usable
    return Truth(name, "simulated", job, table, np.where(fails, np.nan, steps))


def _hidden(random: np.random.Generator) -> Constants:
    """Draw the constants of a site, evenly in their logs."""
    ranges = {
        "efficiency": (0.45, 0.8),
        "half_tokens": (60.0, 1_500.0),
        "half_width": (60.0, 1_200.0),
        "link_share": (0.4, 0.95),
        "network_share": (0.08, 0.9),
        "network_latency_s": (2e-6, 6e-5),
        "congestion_chips": (256.0, 16_384.0),
        "overlap": (0.3, 0.97),
        "tensor_overlap": (0.1, 0.7),
        "stage_share": (0.01, 0.9),
        "layer_latency_s": (5e-6, 3e-4),
        "tensor_launch": (1.2, 4.0),
        "expert_imbalance": (1.05, 1.6),
        "expert_efficiency": (0.35, 0.85),
        "activation_share": (0.7, 1.6),
        "logit_bytes": (2.0, 12.0),
        "state_share": (0.9, 1.2),
        "reserved_bytes": (5e8, 6e9),
    }
    drawn = {name: float(np.exp(random.uniform(*np.log(ends)))) for name, ends in ranges.items()}
    return replace(DEFAULT, **drawn)

"""Sharding: choose how a model is split over accelerators, with what fits before what is fast.

After PROMPTS (Ding et al., MLSys 2026), which proposes meshes for training and serving. No code
of it is public; the deterministic core here is ours. docs/sharding.md says what is to come.

specs/         model, workload, chip, slice      job.py        one question
layout.py      a layout, columns, legality       space.py      all legal layouts
memory.py      bytes per chip, by what           collectives.py rings over links and network
cost.py        a training step, term by term     serving.py    prefill and decode
constants.py   what a site can be calibrated on  calibrate.py  fit them on measured runs
residual.py    corrections, failures of a site   propose.py    fits, fast, three that differ
published.py   published rows                    landscapes.py measured landscapes
neighbours.py  layouts of like jobs              baselines.py  trivial answers
bench.py, bench_published.py, bench_landscapes.py  the benchmark
"""

from models.sharding.calibrate import Runs, calibrate
from models.sharding.constants import Constants
from models.sharding.job import Job
from models.sharding.layout import Layout, LayoutTable, why_illegal
from models.sharding.propose import Infeasible, Proposal, ShardingPlan, propose
from models.sharding.residual import Site, learn_site
from models.sharding.specs import ModelSpec, Slice, Workload, find_chip, find_model

__all__ = [
    "Constants",
    "Infeasible",
    "Job",
    "Layout",
    "LayoutTable",
    "ModelSpec",
    "Proposal",
    "Runs",
    "ShardingPlan",
    "Site",
    "Slice",
    "Workload",
    "calibrate",
    "find_chip",
    "find_model",
    "learn_site",
    "propose",
    "why_illegal",
]

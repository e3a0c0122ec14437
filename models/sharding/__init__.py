"""Sharding: choose how a model is split over accelerators, with what fits before what is fast.

After PROMPTS (Ding et al., MLSys 2026), which proposes meshes for training and serving. No code
of it is public; the deterministic core here is ours. See docs/sharding.md.

specs/         model, workload, chip, slice      job.py, question.py  one question
layout.py, words.py  a layout; in words          space.py, meshes.py  all legal ones
memory.py      bytes per chip, by what           collectives.py rings over links and network
cost.py        a training step, term by term     serving.py    prefill and decode
constants.py   what a site can be calibrated on  calibrate.py  fit them on measured runs
residual.py    corrections, failures of a site   prices.py     times learned from published rows
conventions.py, traits.py  how experts split     ranking.py    what ranks: experts or time
propose.py     fits, promising, three that differ  judge.py    a layout of one's own
profile/       compiles, traces, logs            diagnosis/    what holds a step up
knowledge/     documents and cases               planner/      who proposes; a language model
program/, compile/  the step in JAX, compiled    verify.py     rules, memory, a compile
export/        trainers and servers, both ways   server/       the same as an MCP server
shots/         best layout in few measured runs  site_fit.py, site_next.py  a site's worth, next run
config.py, work.py, plan_answer.py, sweep.py, report/  what the flows do and write
published.py   published rows                    landscapes.py measured landscapes
neighbours.py  layouts of like jobs              baselines.py  trivial answers
bench.py, bench_*.py  the benchmark
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

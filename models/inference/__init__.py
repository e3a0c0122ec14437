"""Batched inference with global prefix sharing: read the whole job, compute no prefix twice.

After BatchLLM (Zheng et al., MLSys 2026): exact prefixes, the cheapest choice of what to share,
memory-centric order; with copies between levels instead of a single level.

requests.py  Request, Sampling, results, errors   parse.py, parse_sampling.py  one line, checked
readers.py   JSONL and Parquet as streams         template.py, tokenizer.py    text to ids
tokens.py    tokenise a file, cached              token_table.py, rows.py      the job on disk
prefix.py    sort, common prefixes, PrefixStats   enlarge.py  which prefixes to compute
order.py     order among groups, simulated        shard.py    groups to workers
memory.py    KvBudget                             cost.py     prices, output lengths
planner.py   plan_job: all of it                  plan.py, plan_file.py  Plan, on disk
verify.py, verify_steps.py  independent check    loads.py    work per prompt
workload.py, planner_bench.py  made-up jobs       compiled/   inner loops (numba)
config.py    BatchConfig

A job from file to file:
job_config.py JobConfig    batch_input.py, prepare.py  read, subtract, plan    job.py  all of it
journal.py, segments.py    what finished, on disk               keys.py     what a result hangs on
supervise.py, engine_process.py, lease.py  processes that die   worker.py   what they run
backends/    native, vllm, openai_http, and who is chosen       bodies.py   requests for servers
merge.py, outcome.py       one line per row                     report/     the page
progress.py, summary.py    figures     job_state.py  the folder     local_model.py  its files
partials.py  rows as far as they have come                      turns.py    one writer per shard
crash_trials.py, tiny_job.py  kills jobs at random and counts    job_overhead.py  cost beside it
"""

from models.inference.config import BatchConfig
from models.inference.cost import CostModel, OutputLengths
from models.inference.loads import RowLoads
from models.inference.memory import KvBudget, KvBudgetError
from models.inference.plan import Group, Plan, Shard
from models.inference.plan_file import read_plan, write_plan
from models.inference.planner import plan_job
from models.inference.prefix import PrefixStats
from models.inference.readers import read_requests
from models.inference.requests import Choice, Request, RowError, RowResult, Sampling
from models.inference.token_table import TokenTable
from models.inference.verify import PlanViolation, verify_plan

__all__ = [
    "BatchConfig",
    "Choice",
    "CostModel",
    "Group",
    "KvBudget",
    "KvBudgetError",
    "OutputLengths",
    "Plan",
    "PlanViolation",
    "PrefixStats",
    "Request",
    "RowError",
    "RowLoads",
    "RowResult",
    "Sampling",
    "Shard",
    "TokenTable",
    "plan_job",
    "read_plan",
    "read_requests",
    "verify_plan",
    "write_plan",
]

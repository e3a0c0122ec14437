"""How fast the planner is: made-up prompts on disk, CPU seconds per phase, peak memory."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from models.errors import ServiceError
from models.settings import ROOT

BUDGET_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class PlannerScale:
    """One planning run in a process of its own.

    Attributes:
        n_prompts, n_tokens: Size of the job.
        phase_s: CPU seconds (user + system, all threads) per phase, compilation apart:
            open, sort, repeats, tree, stats, choose, order, assemble, write. Stats include
            the paper's rule and the best single level.
        compile_s: CPU seconds to load numba and to compile, or read machine code from the cache.
        total_s: Sum of `phase_s`.
        peak_rss_bytes: Most memory of the process, mapped token files included.
        n_groups: Groups of the plan.
        plan_bytes: Size of the plan on disk.
        optimal_share, planned_share, single_level_share, enlarged_share: Prefill tokens
            saved: trie optimum, plan, best single level, the paper's rule.
    """

    n_prompts: int
    n_tokens: int
    phase_s: dict[str, float]
    compile_s: float
    total_s: float
    peak_rss_bytes: int
    n_groups: int
    plan_bytes: int
    optimal_share: float
    planned_share: float
    single_level_share: float
    enlarged_share: float


def planner_scale(n_prompts: int, seed: int, folder: Path | None = None) -> PlannerScale:
    """Generate a job, then plan it in a fresh process and measure that.

    Args:
        n_prompts: Rows; about 700 tokens each.
        seed: Seed of the workload.
        folder: Where tokens and plan go (2 bytes per token); None: a temporary folder.

    Raises:
        ServiceError: The process that plans failed.
    """
    with tempfile.TemporaryDirectory(dir=folder) as place:
        for step in ("generate", "plan"):
            arguments = [step, place, str(n_prompts), str(seed)]
            done = subprocess.run(
                [sys.executable, "-m", "models.inference.planner_bench", *arguments],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            if done.returncode:
                raise ServiceError(
                    f"measuring the planner at {n_prompts} prompts failed in '{step}' with exit "
                    f"code {done.returncode}: {done.stderr.strip()[-500:]}; check disk and memory"
                )
        return PlannerScale(**json.loads(done.stdout.splitlines()[-1]))


def _generate(place: Path, n_prompts: int, seed: int) -> None:
    from models.inference.workload import WorkloadSettings, generate_workload

    generate_workload(WorkloadSettings(n_prompts=n_prompts), seed, place / "tokens")


def _plan(place: Path, n_prompts: int, seed: int) -> PlannerScale:
    import numpy as np

    from models.inference.loads import RowLoads
    from models.inference.memory import KvBudget
    from models.inference.plan_file import write_plan
    from models.inference.planner import Phases, plan_job
    from models.inference.token_table import TokenTable
    from models.inference.workload import WorkloadSettings, generate_workload

    began = time.process_time()
    small = generate_workload(WorkloadSettings(n_prompts=200), seed)
    write_plan(plan_job(small.prompts, small.loads, KvBudget(BUDGET_BYTES)), place / "small")
    compile_s = time.process_time() - began

    phases = Phases()
    prompts = TokenTable.open(place / "tokens")
    output = np.random.default_rng(seed).lognormal(np.log(32), 1.0, len(prompts))
    loads = RowLoads.uniform(output.astype(np.int64).clip(1, 256), kind=0)
    phases.mark("open")
    plan = plan_job(prompts, loads, KvBudget(BUDGET_BYTES), phases=phases)
    written = write_plan(plan, place / "plan")
    phases.mark("write")
    return PlannerScale(
        n_prompts=n_prompts,
        n_tokens=int(prompts.offsets[-1]),
        phase_s=phases.seconds,
        compile_s=compile_s,
        total_s=sum(phases.seconds.values()),
        peak_rss_bytes=_peak_rss_bytes(),
        n_groups=plan.n_groups,
        plan_bytes=sum(file.stat().st_size for file in written.iterdir()),
        optimal_share=plan.stats.saving(plan.stats.optimal),
        planned_share=plan.stats.saving(plan.stats.planned or 0),
        single_level_share=plan.stats.saving(plan.stats.single_level),
        enlarged_share=plan.stats.saving(plan.stats.enlarged),
    )


def _peak_rss_bytes() -> int:
    """Most memory that this program held; `ru_maxrss` would count what its parent held too."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    step, place, n_prompts, seed = sys.argv[1:]
    if step == "generate":
        _generate(Path(place), int(n_prompts), int(seed))
    else:
        print(json.dumps(asdict(_plan(Path(place), int(n_prompts), int(seed)))))

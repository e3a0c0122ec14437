"""Eight questions like those of the paper, planned, compiled and held against a bad start."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from models.sharding.job import Job
from models.sharding.judge import judge
from models.sharding.layout import Layout, LayoutTable, legal
from models.sharding.propose import Proposal, cost_of, propose
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import prior_of
from models.sharding.space import enumerate_layouts
from models.sharding.verify import verify


class Question(NamedTuple):
    """What is asked, and the layout that it starts from: legal, and not good."""

    name: str
    asked: ShardingQuestion
    start: Layout


QUESTIONS: tuple[Question, ...] = (
    Question(
        "8B on 2 H100, adapters",
        ShardingQuestion(model="llama3.1-8b", slice="h100:2", stage="lora", seq_len=2048,
                         global_batch=16),
        Layout(tensor=2, micro_batch=1),
    ),
    Question(
        "8B on v5e 4x8, fine-tuning",
        ShardingQuestion(model="llama3.1-8b", slice="v5e:4x8", stage="finetune", seq_len=4096,
                         global_batch=64),
        Layout(fsdp=8, tensor=4),
    ),
    Question(
        "70B on v6e 16x16, pre-training",
        ShardingQuestion(model="llama3.1-70b", slice="v6e:16x16", seq_len=8192, global_batch=1280),
        Layout(fsdp=64, context=4),
    ),
    Question(
        "Mixtral-8x22B on v5p 4x4x8",
        ShardingQuestion(model="mixtral-8x22b", slice="v5p:4x4x8", seq_len=4096, global_batch=512),
        Layout(fsdp=16, tensor=8),
    ),
    Question(
        "32B at 131,072 tokens on v5p 8x8x8",
        ShardingQuestion(model="qwen3-32b", slice="v5p:8x8x8", seq_len=131_072, global_batch=32),
        Layout(fsdp=32, context=2, tensor=8),
    ),
    Question(
        "8B served on v5e 2x4",
        ShardingQuestion(model="llama3.1-8b", slice="v5e:2x4", stage="serve", seq_len=2048,
                         global_batch=32, output_len=256, tpot_s=0.05),
        Layout(data=4, tensor=2, micro_batch=8, remat="none"),
    ),
    Question(
        "405B on 512 H100, 8 bits",
        ShardingQuestion(model="llama3.1-405b", slice="h100:512", compute="fp8", seq_len=8192,
                         global_batch=512),
        Layout(fsdp=64, tensor=8),
    ),
    Question(
        "DeepSeek-V3 on 256 GB200",
        ShardingQuestion(model="deepseek-v3", slice="gb200:256", seq_len=4096, global_batch=2048),
        Layout(fsdp=32, tensor=8, expert=8),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class PlanCase:
    """One proposal of one question."""

    question: str
    rank: int
    layout: str
    step_s: float
    start_times: float | None
    """Predicted step of the bad start over that of the proposal; None: the start does not fit."""
    oracle_times: float
    """Predicted step of the proposal over that of the fastest layout that fits; *simulated*."""
    is_legal: bool
    is_compiled: bool | None
    """Whether XLA made a program of it; None: it was not asked, or did not answer."""
    verdict: str
    plan_cpu_s: float
    """CPU seconds of all proposals of the question, without compiling."""
    compile_cpu_s: float | None


def score_plans(
    cache: Path, tell: Callable[[str], None], compiles: bool = True, count: int = 3
) -> list[PlanCase]:
    """Plan every question and compile every proposal for virtual devices.

    Args:
        cache: Folder of compiles; an empty one, where what they cost is to be measured.
        tell: Hears of each question.
        compiles: Whether proposals are compiled.
        count: Proposals of a question.
    """
    prior_of("experts")  # read once, not in the time of the first question
    cases = []
    for question in QUESTIONS:
        tell(f"planning {question.name}")
        job = question.asked.job()
        began = time.process_time()
        plan = propose(job, count=count, prior=prior_of("experts"))
        spent = time.process_time() - began
        start = judge(job, question.start, plan=plan)
        fits = start.fit not in ("illegal", "does not fit") and start.step_s is not None
        fastest = propose(job, count=1).proposals[0].step_s.middle
        for one in plan.proposals:
            begun = start.step_s.middle if fits and start.step_s else None
            cases.append(_case(question.name, job, one, begun, fastest, spent, cache, compiles))
    return cases


def _case(
    name: str, job: Job, one: Proposal, start_s: float | None, fastest_s: float, plan_s: float,
    cache: Path, compiles: bool,
) -> PlanCase:  # fmt: skip
    check = verify(job, one.layout, level="cpu" if compiles else "analytic", cache=cache)
    step_s = one.step_s.middle
    return PlanCase(
        name, one.rank, one.layout.text(), step_s, start_s / step_s if start_s else None,
        step_s / fastest_s, check.is_legal, check.is_compiled, check.text(), plan_s,
        check.compiled.cpu_s if check.compiled else None,
    )  # fmt: skip


def rank_speed(chips: int = 512) -> tuple[int, float]:
    """Return how many layouts are enumerated and ranked for a joint question, and CPU seconds."""
    asked = ShardingQuestion(
        model="llama3.1-405b", slice=f"h100:{chips}", seq_len=8192, global_batch=1024
    )
    job = asked.job()
    began = time.process_time()
    table: LayoutTable = enumerate_layouts(job)
    table = table.take(legal(table, job))
    cost_of(table, job).step_s.argsort()
    return table.size, time.process_time() - began

"""One line per question of a sweep: the first proposal, or why there is none."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from models.errors import ConfigError
from models.llm import LanguageModel
from models.sharding.asking import answer_s
from models.sharding.config import SweepConfig
from models.sharding.job import Job
from models.sharding.judge import judge
from models.sharding.planner.base import Author, PlanContext, Planned
from models.sharding.planner.language_model import LanguageModelProposer
from models.sharding.propose import propose
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import Rank, prior_of
from models.sharding.report.numbers import mfu
from models.sharding.verify import Level, verify
from models.sharding.work import tokens_per_s_per_chip, trivial_layout


@dataclass(frozen=True)
class SweepRow:
    """The answer to one question. None: there is none."""

    model: str
    slice: str
    chips: int | None
    seq_len: int
    global_batch: int
    layout: str | None = None
    step_s: float | None = None
    step_s_p10: float | None = None
    step_s_p90: float | None = None
    trivial_step_s: float | None = None
    """Of the layout that needs no thought, where it fits."""
    tokens_per_s: float | None = None
    tokens_per_s_chip: float | None = None
    mfu: float | None = None
    memory_share: float | None = None
    """P90 of memory over the capacity."""
    verified: str = ""
    hlo_digest: str = ""
    infeasible: str = ""
    """Why there is no layout."""
    minimum_chips: int | None = None
    author: Author = "analytic"
    """Who proposed the layout."""
    fallback: str = ""
    """Why a language model that was asked has no say; empty: it has, or none was asked."""


def planned_by_model(config: SweepConfig, model: LanguageModel) -> list[Planned | None]:
    """Ask a language model for the first layout of all questions of a sweep at once.

    Args:
        config: The questions.
        model: Who is asked.

    Returns:
        An answer per question, the analytic one where the model's is none; None: a model, a chip
        or a shape is none, which `answer_question` tells.
    """
    context = PlanContext(prior=prior_of(config.rank), count=1)
    jobs: dict[int, Job] = {}
    questions = config.questions()
    for place, question in enumerate(questions):
        with contextlib.suppress(ConfigError):
            jobs[place] = question.job()
    proposer = LanguageModelProposer(model, timeout_s=len(jobs) * answer_s(config))
    found = proposer.propose_all([(job, context) for job in jobs.values()])
    plans = dict(zip(jobs, found, strict=True))
    return [plans.get(place) for place in range(len(questions))]


def answer_question(
    question: ShardingQuestion,
    rank: Rank,
    level: Level,
    compile_s: float,
    cache: Path,
    planned: Planned | None = None,
) -> SweepRow:
    """Answer one question; a model, a chip or a shape that is none is an answer too.

    Args:
        question: Model, workload, chips.
        rank: Which layout stands first.
        level: How far the first proposal is verified.
        compile_s: Seconds that its compile may take.
        cache: Folder of remembered compiles.
        planned: What came of asking a language model; None: the analytic proposer answers.
    """
    asked = (question.model, question.slice)
    sizes = (question.seq_len, question.global_batch)
    try:
        job = question.job()
    except ConfigError as error:
        return SweepRow(*asked, None, *sizes, infeasible=str(error))
    plan = planned.plan if planned else propose(job, count=1, prior=prior_of(rank))
    fallback = (planned.fallback_reason or "") if planned else ""
    if plan.infeasible is not None:
        why = plan.infeasible
        return SweepRow(
            *asked, job.place.chips, *sizes, infeasible=f"{why.reason}: {why.detail}",
            minimum_chips=why.minimum_chips, fallback=fallback,
        )  # fmt: skip
    first = plan.proposals[0]
    check = verify(job, first, level=level, cache=cache, time_s=compile_s)
    trivial = trivial_layout(job)
    judged = judge(job, trivial, plan=plan) if trivial else None
    fits = judged is not None and judged.fit not in ("illegal", "does not fit")
    speed = tokens_per_s_per_chip(job, first.step_s.middle)
    return SweepRow(
        *asked, job.place.chips, *sizes, first.layout.text(), first.step_s.middle,
        first.step_s.low, first.step_s.high,
        judged.step_s.middle if judged and judged.step_s and fits else None,
        speed * job.place.chips, speed, mfu(job, first.step_s.middle),
        first.memory_bytes.high / job.place.chip.hbm_bytes, check.text(),
        check.compiled.hlo_digest if check.compiled else "",
        author=planned.authors[0] if planned else "analytic", fallback=fallback,
    )  # fmt: skip


def sweep_frame(rows: Sequence[SweepRow]) -> pd.DataFrame:
    """Return the answers as a table; `is_best` marks who is beaten by none of its kind.

    Of one model, length and batch a row is best when no other has as many tokens per second on as
    few chips.
    """
    frame = pd.DataFrame([asdict(row) for row in rows])
    frame["is_best"] = False
    for _, part in frame.groupby(["model", "seq_len", "global_batch"], sort=False):
        able = part[part["step_s"].notna()]
        for index, row in able.iterrows():
            chips, speed = able["chips"].astype(float), able["tokens_per_s"].astype(float)
            as_good = (chips <= row["chips"]) & (speed >= row["tokens_per_s"])
            better = as_good & ((chips < row["chips"]) | (speed > row["tokens_per_s"]))
            frame.loc[index, "is_best"] = not better.any()
    return frame


def metrics_of(rows: Sequence[SweepRow]) -> dict[str, float]:
    """Return what sweeps are compared by."""
    answered = [row for row in rows if row.step_s is not None]
    sure = [row for row in answered if row.verified.startswith("ok")]
    gains = [row.trivial_step_s / row.step_s for row in answered
             if row.trivial_step_s and row.step_s]  # fmt: skip
    found: dict[str, Any] = {
        "questions": len(rows), "answered": len(answered), "verified": len(sure),
    }  # fmt: skip
    if gains:
        found["speedup_over_trivial"] = sum(gains) / len(gains)
    return found

"""Answer the questions of a sweep, each as a task of its own, kept by content."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from models.settings import get_settings
from models.sharding.config import SweepConfig
from models.sharding.plan_answer import made
from models.sharding.planner.base import Planned
from models.sharding.question import ShardingQuestion
from models.sharding.ranking import Rank
from models.sharding.report.sweep_page import render_sweep
from models.sharding.sweep import (
    SweepRow,
    answer_question,
    metrics_of,
    planned_by_model,
    sweep_frame,
)
from models.sharding.verify import Level
from tasks.agent_model import asked_model
from tasks.agents import agents_home
from tasks.cache import ByContent
from tasks.shard import compiles
from tasks.track import TrackedRun


@task(cache_policy=NO_CACHE, tags=["llm"])
def ask_for_layouts(config: SweepConfig, run: TrackedRun) -> list[Planned | None]:
    """Ask a language model about all questions at once; see `planned_by_model`."""
    with asked_model(config.llm, config.asker, "sharding-planner", agents_home()) as model:
        found = planned_by_model(config, model)
    answers = [one for one in found if one is not None]
    failed = [one.fallback_reason for one in answers if one.fallback_reason]
    run.metrics({
        "llm/calls": sum(one.calls for one in answers),
        "llm/tokens": sum(one.tokens for one in answers), "llm/without_answer": len(failed),
    })  # fmt: skip
    if failed:
        get_run_logger().warning(
            "the analytic answer stands for %d of %d questions: %s",
            *(len(failed), len(found), failed[0]),
        )
    return found


@task(
    cache_policy=ByContent(room="models.sharding"),
    persist_result=True,
    task_run_name="{question.model}-on-{question.slice}",
    tags=["compile"],
)
def plan_question(
    question: ShardingQuestion,
    rank: Rank,
    level: Level,
    compile_s: float,
    planned: Planned | None = None,
) -> SweepRow:
    """Propose for one question and verify the first proposal; see `answer_question`."""
    row = answer_question(question, rank, level, compile_s, compiles(), planned)
    get_run_logger().info("%s on %s: %s", row.model, row.slice, row.layout or row.infeasible)
    return row


@task(cache_policy=NO_CACHE)
def publish_sweep(
    config: SweepConfig, rows: list[SweepRow], run: TrackedRun
) -> tuple[pd.DataFrame, dict[str, Path]]:
    """Write table and report, and record them."""
    folder = made(config.output or get_settings().home / "sharding" / "sweeps" / config.digest)
    frame = sweep_frame(rows)
    table, report = folder / "sweep.csv", folder / "report.html"
    frame.to_csv(table, index=False)
    report.write_text(render_sweep(frame))
    for file in (table, report):
        run.artifact(file.name, file)
    run.metrics({f"sweep/{name}": value for name, value in metrics_of(rows).items()})
    return frame, {"table": table, "report": report}

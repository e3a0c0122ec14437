"""Choose how a model is split over chips (PROMPTS): profile, diagnose, propose, verify, report."""

from __future__ import annotations

import time

import pandas as pd
from prefect import flow

from models.figures import Figure, FlowSummary
from models.sharding.config import PlanConfig
from models.sharding.constants import DEFAULT
from models.sharding.landscapes import read_landscapes
from models.sharding.plan_answer import PlanAnswer, answer_folder, publish
from models.sharding.report.numbers import mfu
from models.sharding.verify import Check
from models.sharding.work import anchored, known_step, proposer_of
from tasks.runner import task_runner
from tasks.shard import (
    diagnose_step,
    exports_as_values,
    learn_site_of,
    profile_step,
    propose_layouts,
    recall_knowledge,
    record_checks,
    verify_layout,
    write_exports,
)
from tasks.track import close_abandoned_run, show_table, tracked_run


@flow(
    name="plan-sharding",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def plan_sharding(config: PlanConfig = PlanConfig()) -> FlowSummary:  # noqa: B008
    """Propose layouts for a model on a slice, verified by a real compiler.

    Args:
        config: The question and what is known of it; nothing given: Llama-3.1-70B on v6e 16x16.

    Raises:
        ConfigError: The model, the chips or the present layout are none.
        DataError: A file that is named cannot be read.
    """
    job = config.job()
    proposer_of(config)  # an address that is none is told before anything is computed
    folder = answer_folder(config)
    with tracked_run("sharding", config) as run:
        began = time.monotonic()
        site = learn_site_of(config, run)
        known = profile_step(config, job, site.constants, run)
        site = anchored(site, known, job)
        diagnosis = diagnose_step(known, job, site.constants, run) if known else None
        recalled = recall_knowledge(config, job, diagnosis, run)
        planned = propose_layouts(config, job, site, diagnosis, recalled, run)
        checking = [
            verify_layout.submit(
                one.rank, job, one.layout, config.verify, site.constants, config.compile_s
            )
            for one in planned.proposals
        ]
        checks: list[Check] = [future.result() for future in checking]
        record_checks(checks, run)
        first = planned.proposals[0] if planned.proposals else None
        exports = write_exports(config, job, first.layout, folder, run) if first else {}
        answer = PlanAnswer(config, job, site, known, diagnosis, recalled, planned, tuple(checks))
        files = publish(answer, exports_as_values(exports), folder)
        for file in files.values():
            run.artifact(file.name, file)
        run.metrics({"wall_s": time.monotonic() - began, **answer.metrics()})
        show_table("proposals", pd.DataFrame(answer.rows()), answer.headline)
        present = answer.present_step_s
        return FlowSummary(
            answer.headline,
            f"the present layout: {answer.present_text}",
            (
                Figure("step s", first.step_s.middle if first else None, present),
                Figure("MFU", mfu(job, first.step_s.middle) if first else None,
                       mfu(job, present) if present else None, "{:.1%}"),
                Figure("memory P90 of capacity", answer.memory_share, None, "{:.0%}"),
                Figure("proposals verified", sum(one.verdict == "ok" for one in checks)),
                Figure("legal layouts looked at", planned.plan.candidates, None, "{:,.0f}"),
            ),
            run.url,
            run.prefect_url,
            files,
        )  # fmt: skip


def preview(config: PlanConfig) -> list[str]:
    """Say what would be planned, without planning (`loom run --dry-run`)."""
    job = config.job()
    proposer_of(config)
    if config.runs is not None:
        read_landscapes(config.runs)
    known = known_step(config, job, DEFAULT)
    work = job.workload
    who = f" ({config.asker} {config.llm})" if config.proposer == "language_model" else ""
    return [
        f"model: {job.model.name}, {job.model.params / 1e9:.3g} billion parameters",
        f"work: {work.stage}, {work.global_batch:,} x {work.seq_len:,} tokens in {work.compute}",
        f"chips: {job.place.text()}, {job.place.chips:,} of "
        f"{job.place.chip.hbm_bytes / 1e9:.3g} GB",
        f"profile: {config.data or 'of the cost model'}; present layout: "
        f"{f'{known.layout.text()} ({known.origin})' if known else 'none is legal'}",
        f"calibration: {config.runs or 'constants of the literature'}",
        f"proposer: {config.proposer}{who}; verified: {config.verify}",
    ]

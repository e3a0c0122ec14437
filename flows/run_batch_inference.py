"""Run a batch of prompts (BatchLLM): plan shared prefixes, run, survive, merge, report."""

from __future__ import annotations

import time

from prefect import flow

from models.figures import FlowSummary
from models.inference.backends.choose import choose_backend
from models.inference.batch_input import held, read_batch
from models.inference.job import size_of
from models.inference.job_config import JobConfig
from models.inference.journal import Journal
from models.inference.prepare import earlier_backend, plan_batch
from models.inference.summary import flow_summary
from models.settings import get_settings
from tasks.infer import (
    merge_rows,
    places,
    plan_requests,
    read_requests,
    run_engines,
    write_batch_report,
)
from tasks.runner import task_runner
from tasks.track import close_abandoned_run, tracked_run


@flow(
    name="run-batch-inference",
    task_runner=task_runner(),
    on_crashed=[close_abandoned_run],
    on_cancellation=[close_abandoned_run],
)
def run_batch_inference(config: JobConfig = JobConfig()) -> FlowSummary:  # noqa: B008
    """Run every prompt of a file and write one line per row; run again, it goes on.

    Args:
        config: Input, output, model, backend, KV budget; nothing given: the shipped prompts.

    Raises:
        ErrorRateError: More rows failed than `max_error_rate` allows.
        JobStoppedError: Somebody asked to stop; what finished is kept.
    """
    with tracked_run("inference", config) as run:
        batch = read_requests(config, run)
        with held(batch.folder):
            prepared = plan_requests(batch, run)
            began = time.monotonic()
            reports = run_engines(prepared.folder, len(prepared.plan.shards), size_of(prepared))
            report = merge_rows(prepared, reports, began, run)
            page = write_batch_report(prepared, report, run)
        files = {"results": batch.output, "errors": batch.errors, "report": page}
        return flow_summary(prepared, report, files, run.url, run.prefect_url)


def preview(config: JobConfig) -> list[str]:
    """Plan a job and say what it would take, without running it (`loom run --dry-run`)."""
    batch = read_batch(config, places())
    plan = plan_batch(batch, get_settings().workers)
    before = earlier_backend(batch.folder) if config.resume else None
    chosen = choose_backend(config, batch.model, plan, batch.known_prices, before)
    stats = plan.stats
    finished = len(Journal.look(batch.folder / "journal").places)
    return [
        f"input: {batch.data} ({batch.n_input:,} rows, {batch.job.n_errors:,} unusable)",
        f"model: {batch.model.name}, {batch.model.fingerprint}",
        f"backend: {chosen.name} ({chosen.why})",
        f"prompt tokens: {stats.logical:,}; computed {stats.planned or 0:,}",
        f"saving: {stats.saving(stats.planned or 0):.1%} planned, {stats.optimal_share:.1%} "
        f"optimal, {stats.saving(stats.single_level):.1%} with one level",
        f"KV: predicted peak {plan.predicted_peak_bytes / 1024**3:.2f} GiB of "
        f"{plan.budget.bytes / 1024**3:.2f} GiB per process, {len(plan.shards)} process(es)",
        f"cost: {plan.predicted_s:,.1f} CPU s predicted, if every row emits all it may",
        f"output: {batch.output}; {finished:,} results of earlier starts in {batch.folder}",
    ]

"""Run a batch of prompts: read, plan, run in engine processes, merge, report."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE

from models.errors import StorageFullError, is_storage_full
from models.inference.batch_input import BatchInput, Places, read_batch
from models.inference.job import JobReport, finish_job, run_shards, trace_files
from models.inference.job_config import JobConfig
from models.inference.prepare import PreparedJob, prepare_job
from models.inference.progress import JobProgress, JobSize, Progress
from models.inference.report import render_report, report_numbers
from models.inference.supervise import ShardReport
from models.settings import Settings, get_settings
from tasks.cluster import flow_cluster, n_workers, run_on_cluster
from tasks.track import TrackedRun


def places(settings: Settings | None = None) -> Places:
    """Where batch jobs of this checkout live."""
    settings = settings or get_settings()
    return Places(settings.home, settings.datasets)


@task(cache_policy=NO_CACHE)
def read_requests(config: JobConfig, run: TrackedRun) -> BatchInput:
    """Read and tokenise the input; see `models.inference.prepare.read_batch`."""
    began = time.monotonic()
    batch = read_batch(config, places())
    run.dataset(batch.data.name, batch.job.prompts.digest, batch.data)
    run.params({"model_fingerprint": batch.model.fingerprint, "rows": batch.n_input})
    run.metrics({"phase/read_s": time.monotonic() - began})
    get_run_logger().info(
        "%d rows, %d of them unusable; %d prompt tokens",
        *(batch.n_input, batch.job.n_errors, int(batch.job.prompts.offsets[-1])),
    )
    return batch


@task(cache_policy=NO_CACHE)
def plan_requests(batch: BatchInput, run: TrackedRun) -> PreparedJob:
    """Subtract what is finished and plan the rest; see `prepare_job`."""
    began = time.monotonic()
    prepared = prepare_job(batch, n_workers(), places())
    plan = prepared.plan
    run.params({"plan_hash": plan.content_hash, "backend_used": prepared.chosen.name})
    run.tags({"backend.why": prepared.chosen.why, "engine.processes": len(plan.shards)})
    run.metrics({"phase/plan_s": time.monotonic() - began})
    for name in ("plan.json", "groups.parquet", "rows.parquet", "duplicates.parquet"):
        run.artifact(f"plan/{name}", prepared.folder / "plan" / name)
    get_run_logger().info(
        "backend %s (%s); %d of %d rows were finished before; the plan computes %.1f %% of the "
        "prompt tokens",
        *(prepared.chosen.name, prepared.chosen.why, prepared.rows_before, len(prepared.keys)),
        100 * (1 - plan.stats.saving(plan.stats.planned or 0)),
    )
    return prepared


@task(cache_policy=NO_CACHE, retries=0)
def run_engines(folder: Path, n_shards: int, size: JobSize) -> list[ShardReport]:
    """Run all shards, on this machine or on the workers of the flow's Dask cluster.

    Raises:
        EngineDiedError: An engine does not get as far as its first row.
    """
    settings = get_settings()
    with shown_progress() as tell:
        progress = JobProgress(folder, size, tell)
        if n_shards and settings.runner == "dask":
            return run_on_cluster(flow_cluster(), folder, n_shards, progress)
        return run_shards(folder, n_shards, progress, workers=settings.workers)


@task(cache_policy=NO_CACHE)
def merge_rows(
    prepared: PreparedJob, reports: Sequence[ShardReport], began: float, run: TrackedRun
) -> JobReport:
    """Write results and errors, record what the job did; see `finish_job`.

    Raises:
        ErrorRateError: More rows failed than the job allows.
        JobStoppedError: Somebody asked to stop.
    """
    started = time.monotonic()
    run.metrics({"phase/run_s": started - began})
    try:
        report = finish_job(prepared, reports, began)
    finally:
        if prepared.batch.errors.exists():
            run.artifact("errors.jsonl", prepared.batch.errors)
    run.metrics({**report.metrics(), "phase/merge_s": time.monotonic() - started})
    for file in trace_files(prepared.folder):
        run.artifact(f"steps/{file.parent.name}.parquet", file)
    if report.deaths:
        get_run_logger().warning(
            "%d engine processes died and others took their place; %s keeps what they said",
            *(report.deaths, prepared.folder / "shards"),
        )
    if report.quarantined:
        get_run_logger().warning("%d rows killed the engine and were left out", report.quarantined)
    return report


@task(cache_policy=NO_CACHE)
def write_batch_report(prepared: PreparedJob, report: JobReport, run: TrackedRun) -> Path:
    """Write the page of a job and keep it with the run.

    Raises:
        StorageFullError: No room for it.
    """
    numbers = report_numbers(prepared, report)
    path = prepared.batch.page
    try:
        path.write_text(render_report(numbers), encoding="utf-8")
    except OSError as error:
        if not is_storage_full(error):
            raise
        raise StorageFullError(
            f"no space left for {path}; free some and start the job again: its results are "
            "written, nothing is computed twice"
        ) from error
    run.artifact("report.html", path)
    run.artifact("report.json", numbers)
    return path


@contextmanager
def shown_progress() -> Iterator[Callable[[Progress], None]]:
    """Show progress as a bar in a terminal, and as an artifact of the flow run."""
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    log = get_run_logger()
    artifact: Any = create_progress_artifact(
        progress=0.0, key="run-batch-inference-progress", description="rows that have a result"
    )
    columns = (TextColumn("rows"), BarColumn(), TextColumn("{task.description}"))
    with Bar(*columns, disable=not sys.stderr.isatty(), transient=True) as bar:
        line = bar.add_task("starting", total=1)
        last = time.monotonic()

        def tell(now: Progress) -> None:
            nonlocal last
            bar.update(line, completed=now.rows, total=max(now.total, 1), description=now.words())
            if time.monotonic() - last > 10 or now.rows == now.total:
                last = time.monotonic()
                log.info(now.words())
                update_progress_artifact(artifact, progress=100 * now.rows / max(now.total, 1))

        yield tell

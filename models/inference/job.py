"""A whole job without Prefect: read, plan, run all shards, merge; and what came of it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.errors import ServiceError
from models.inference.backends.base import Counters
from models.inference.batch_input import Places, held, read_batch
from models.inference.engine_process import Start, start_process
from models.inference.job_config import JobConfig
from models.inference.job_state import PARTIALS, ask_to_stop, stop_reason
from models.inference.journal import Journal
from models.inference.merge import Merged, merge_results
from models.inference.prepare import ErrorRateError, PreparedJob, prepare_job, refuse_too_many
from models.inference.progress import ERROR_RATE, JobProgress, JobSize, Progress
from models.inference.supervise import ShardReport, Supervisor

TELL_S = 1.0


class JobStoppedError(ServiceError):
    """Somebody asked the job to stop; what finished is kept."""

    exit_code = 75


@dataclass(frozen=True)
class JobReport:
    """What a job did.

    Attributes:
        merged: Lines written.
        rows_before: Prompts that earlier starts had finished.
        deaths: Engine processes that died.
        quarantined: Prompts that killed them.
        logical_tokens: Prompt tokens of the rows that ran in this start.
        computed_tokens: Of them, computed; a row that began twice counts twice.
        optimal_share: Prompt tokens that the trie optimum saves, 0 to 1; None: nothing ran.
        planned_share: The same of the plan.
        saved_share: The same as it came.
        output_tokens: Tokens emitted in this start.
        counters: Work of all engine processes.
        kv_budget_bytes: Of one process.
        wall_s: From the first shard to the merged results.
    """

    merged: Merged
    rows_before: int
    deaths: int
    quarantined: int
    logical_tokens: int
    computed_tokens: int
    optimal_share: float | None
    planned_share: float | None
    saved_share: float | None
    output_tokens: int
    counters: Counters
    kv_budget_bytes: int
    wall_s: float

    def metrics(self) -> dict[str, float | None]:
        """Return numbers for a tracked run."""
        steps, c = self.counters.steps, self.counters
        tokens = self.computed_tokens + c.decode_tokens
        return {
            "prefill/logical_tokens": self.logical_tokens,
            "prefill/computed_tokens": self.computed_tokens,
            "prefill/optimal_share": self.optimal_share,
            "prefill/planned_share": self.planned_share,
            "prefill/saved_share": self.saved_share,
            "engine/steps": steps,
            "engine/tokens_per_step": tokens / steps if steps else None,
            "engine/output_tokens": self.output_tokens,
            "engine/preempted": c.preempted,
            "engine/cpu_s": c.cpu_s,
            "engine/deaths": self.deaths,
            "kv/peak_bytes": c.kv_peak_bytes or None,
            "kv/budget_bytes": self.kv_budget_bytes,
            "rows/ok": self.merged.rows_ok,
            "rows/failed": self.merged.rows_failed,
            "rows/quarantined": self.quarantined,
            "rows/finished_before": self.rows_before,
            "wall_s": self.wall_s,
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {**asdict(self), "metrics": self.metrics()}


def size_of(prepared: PreparedJob) -> JobSize:
    """Return what a prepared job consists of."""
    return JobSize(
        total=prepared.rows_to_run + prepared.rows_before,
        rows_before=prepared.rows_before,
        n_input=prepared.batch.n_input,
        failed_before=prepared.batch.job.n_errors + len(prepared.refused),
        max_error_rate=prepared.batch.config.max_error_rate,
    )


def run_shards(
    folder: Path,
    n_shards: int,
    progress: JobProgress,
    start: Start = start_process,
    workers: int = 1,
) -> list[ShardReport]:
    """Run every shard of a job's plan, each in a process of its own, and wait for all.

    At most `workers` processes run at a time; who is done takes the next shard. Whatever
    interrupts this thread stops them first: they finish their step, flush and end.
    """
    if not n_shards:
        return []

    def run(shard: int) -> ShardReport:
        return Supervisor(folder, shard, progress.take, start).run()

    with ThreadPoolExecutor(min(workers, n_shards)) as pool:
        shards = [pool.submit(run, shard) for shard in range(n_shards)]
        try:
            left: set[Future[ShardReport]] = set(shards)
            while left:
                done, left = wait(left, TELL_S, FIRST_COMPLETED)
                for shard in done:
                    shard.result()
                progress.say()
        except BaseException as error:
            ask_to_stop(folder, why_stopped(error))
            raise
    return [shard.result() for shard in shards]


def why_stopped(error: BaseException) -> str:
    """Say what ended a job from within."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return f"{type(error).__name__}: {error}"


def finish_job(prepared: PreparedJob, reports: Sequence[ShardReport], began: float) -> JobReport:
    """Merge results and add up what the shards did.

    Args:
        prepared: The job.
        reports: Of its shards.
        began: `time.monotonic()` when the shards started.

    Raises:
        JobStoppedError: Somebody asked to stop; rows are missing.
        ErrorRateError: More rows failed than the job allows; what can be written is.
    """
    batch, why = prepared.batch, stop_reason(prepared.folder)
    if why is not None:
        raise stopped_error(why)
    journal = Journal.open(prepared.folder / "journal")
    merged = merge_results(
        *(batch.job, prepared.keys, journal, prepared.refused, prepared.model_name),
        *(batch.output, batch.errors),
    )
    refuse_too_many(batch, merged.rows_failed)
    for name in ("bodies", PARTIALS):
        shutil.rmtree(prepared.folder / name, ignore_errors=True)
    counters = sum((report.counters for report in reports), Counters())
    stats, computed = prepared.plan.stats, counters.prefix_tokens + counters.prompt_tokens
    has_run = bool(stats.logical) and bool(computed)
    return JobReport(
        merged=merged,
        rows_before=prepared.rows_before,
        deaths=sum(report.deaths for report in reports),
        quarantined=sum(len(report.quarantined) for report in reports),
        logical_tokens=stats.logical,
        computed_tokens=computed,
        optimal_share=stats.saving(stats.optimal) if has_run else None,
        planned_share=stats.saving(stats.planned or 0) if has_run else None,
        saved_share=stats.saving(computed) if has_run else None,
        output_tokens=sum(report.output_tokens for report in reports),
        counters=counters,
        kv_budget_bytes=prepared.plan.budget.bytes,
        wall_s=time.monotonic() - began,
    )


def stopped_error(why: str) -> ServiceError | ErrorRateError:
    """Return the error of a job that was asked to stop."""
    if why.startswith(ERROR_RATE):
        return ErrorRateError(
            f"the job stopped: {why}; what finished is kept, run it again with a higher rate to "
            "go on (retry_failed=true tries the failed rows again)"
        )
    return JobStoppedError(f"the job stopped ({why}); start it again and it goes on where it was")


def run_job(
    config: JobConfig,
    places: Places,
    workers: int = 1,
    tell: Callable[[Progress], None] | None = None,
    start: Start = start_process,
) -> JobReport:
    """Run a job from file to file; the same call again goes on where the last one stopped.

    Args:
        config: The job.
        places: Home and data folders.
        workers: Most engine processes at a time.
        tell: Hears of progress.
        start: Starts an engine process.

    Raises:
        ErrorRateError: More rows failed than `max_error_rate` allows.
        JobStoppedError: Somebody asked to stop.
    """
    batch = read_batch(config, places)
    with held(batch.folder):
        prepared = prepare_job(batch, workers, places)
        began = time.monotonic()
        progress = JobProgress(batch.folder, size_of(prepared), tell)
        try:
            reports = run_shards(
                *(batch.folder, len(prepared.plan.shards), progress, start), workers=workers
            )
        except KeyboardInterrupt:
            raise stopped_error("interrupted") from None
        return finish_job(prepared, reports, began)


def trace_files(folder: Path) -> list[Path]:
    """Return the step traces that a job's processes left, by shard and process."""
    return sorted((folder / "shards").glob("*/trace.parquet"))

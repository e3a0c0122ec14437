"""Shards on a Dask cluster: a free worker takes the longest that nobody has begun."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from pathlib import Path
from typing import Any

from prefect.context import FlowRunContext

from models.errors import ServiceError
from models.inference.engine_process import GRACE_S
from models.inference.job import why_stopped
from models.inference.job_state import ask_to_stop
from models.inference.progress import JobProgress
from models.inference.supervise import ShardReport, newest_beats, run_shard
from models.settings import get_settings

POLL_S = 0.5


def flow_cluster() -> Any:
    """Return a client of the cluster that the flow's task runner uses.

    The flow's own process drives it: a worker that dies takes no driver along.

    Raises:
        ServiceError: The flow has no Dask cluster.
    """
    context = FlowRunContext.get()
    client = getattr(context.task_runner, "client", None) if context else None
    if client is None:
        raise ServiceError("no Dask cluster here; run the flow with --runner dask")
    return client


def n_workers() -> int:
    """Return how many engine processes may run at a time where the settings say."""
    settings = get_settings()
    if settings.runner == "dask" and settings.dask_address and FlowRunContext.get():
        return max(int(sum(flow_cluster().nthreads().values())), 1)
    return settings.workers


def run_on_cluster(
    client: Any, folder: Path, n_shards: int, progress: JobProgress
) -> list[ShardReport]:
    """Run a job's shards on workers that share its folder.

    As many are handed out as workers have threads, so that what nobody has begun is free for
    whoever is done first. The shard of a worker that dies is run again by another one, which
    subtracts what the journal holds.

    Args:
        client: Of the cluster.
        folder: Of the job.
        n_shards: Shards of its plan, the longest first.
        progress: Hears of the signs of life.

    Raises:
        ServiceError: A shard's workers died too often (`distributed.scheduler.allowed-failures`).
        ProjectError: What an engine process said that a person must mend.
    """
    from distributed import KilledWorker, wait

    waiting, running = deque(range(n_shards)), dict[int, Any]()
    reports: dict[int, ShardReport] = {}
    try:
        while waiting or running:
            free = sum(client.nthreads().values()) - len(running)
            for _ in range(min(free, len(waiting))):
                shard = waiting.popleft()
                running[shard] = client.submit(run_shard, folder, shard, pure=False)
            for shard in [shard for shard, future in running.items() if future.done()]:
                reports[shard] = running.pop(shard).result()
            for report in newest_beats(folder, n_shards):
                progress.take(report)
            progress.say()
            if running:
                time.sleep(POLL_S)
    except BaseException as error:
        ask_to_stop(folder, why_stopped(error))
        with contextlib.suppress(TimeoutError):  # they finish their step, flush and end
            wait(list(running.values()), timeout=GRACE_S)
        if isinstance(error, KilledWorker):
            raise ServiceError(
                f"Dask workers died again and again on one shard ({error}); see their logs, give "
                "them more memory, and start the job again: it goes on where it was"
            ) from None
        raise
    return [reports[shard] for shard in range(n_shards)]

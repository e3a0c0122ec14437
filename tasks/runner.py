"""Where the tasks of a flow run: threads of this process, or a Dask cluster."""

from __future__ import annotations

from typing import Any, cast

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from models.settings import Settings, get_settings


def task_runner(settings: Settings | None = None) -> TaskRunner[Any]:
    """Build the task runner that the settings ask for.

    `runner=dask` uses the scheduler at `dask_address`, or starts a local cluster of
    `workers` processes for the flow run. A runner never changes a result.
    """
    settings = settings or get_settings()
    if settings.runner == "threads":
        return ThreadPoolTaskRunner(max_workers=settings.workers)
    from prefect_dask import DaskTaskRunner

    if settings.dask_address:
        return cast(TaskRunner[Any], DaskTaskRunner(address=settings.dask_address))
    cluster = {
        "n_workers": settings.workers,
        "threads_per_worker": 1,
        "dashboard_address": None,
        "local_directory": str(settings.home / "dask"),
    }
    return cast(TaskRunner[Any], DaskTaskRunner(cluster_kwargs=cluster))

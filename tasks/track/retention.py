"""Old runs of the MLflow store: list them, remove them, empty the trash."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from models.errors import ServiceError
from models.retention import KEEP_TAG, RecordedRun
from models.services.servers import environment
from models.settings import Settings, get_settings, masked
from tasks.track.mlflow_store import MlflowStore

_PAGE = 1000
_TRACES = 100
_SETTLED = {"FINISHED", "FAILED", "KILLED"}
_PATIENCE_S = 3_600


def recorded_runs() -> tuple[list[RecordedRun], set[str]]:
    """Return all runs of the store, and the ids of those that registered models came from."""
    client = MlflowStore().client
    runs = [
        _recorded(run, experiment.name)
        for experiment in client.search_experiments()
        for run in _pages(
            lambda token, of=experiment.experiment_id: client.search_runs(
                [of], max_results=_PAGE, page_token=token
            )
        )
    ]
    versions = _pages(
        lambda token: client.search_model_versions(max_results=_PAGE, page_token=token)
    )
    return runs, {str(version.run_id) for version in versions if version.run_id}


def _pages(read: Any) -> Iterable[Any]:
    token = None
    while True:
        found = read(token)
        yield from found
        token = found.token
        if not token:
            return


def _recorded(run: Any, experiment: str) -> RecordedRun:
    info, tags = run.info, run.data.tags
    ended = info.end_time if info.status in _SETTLED else None
    return RecordedRun(
        id=info.run_id,
        name=info.run_name or info.run_id,
        experiment=experiment,
        started_s=info.start_time / 1_000,
        ended_s=None if ended is None else ended / 1_000,
        parent=tags.get("mlflow.parentRunId"),
        is_marked=tags.get(KEEP_TAG, "false").lower() != "false",
    )


def remove_runs(runs: Sequence[RecordedRun]) -> int:
    """Put runs into the trash, those that belong to another first, and delete their traces, for
    which there is no trash. Returns how many traces there were.
    """
    client, traces = MlflowStore().client, 0
    places = {one.name: one.experiment_id for one in client.search_experiments()}
    for run in sorted(runs, key=lambda one: one.parent is None):
        place = places[run.experiment]
        found = [
            trace.info.trace_id
            for trace in _pages(
                lambda token, of=run.id, at=place: client.search_traces(
                    locations=[at], run_id=of, include_spans=False, max_results=_TRACES,
                    page_token=token,
                )
            )
        ]  # fmt: skip
        for start in range(0, len(found), _TRACES):
            traces += client.delete_traces(place, trace_ids=found[start : start + _TRACES])
        client.delete_run(run.id)
    return traces


def empty_trash(days: float, settings: Settings | None = None) -> str:
    """Delete what was removed more than `days` ago, artifacts included; MLflow's own `gc` does.

    Returns:
        Why it was not done here; empty: it was.

    Raises:
        ServiceError: MLflow could not.
    """
    settings = settings or get_settings()
    if settings.mlflow_tracking_uri is not None:
        return (
            f"The store at {masked(settings.mlflow_tracking_uri)} is not ours: removed runs wait "
            f"in its trash until `mlflow gc --older-than {days:g}d` runs on its machine."
        )
    variables = environment(settings) | {"MLFLOW_TRACKING_URI": settings.mlflow_database}
    # By environment, not by argument: the address may hold a password.
    variables["MLFLOW_BACKEND_STORE_URI"] = settings.mlflow_database
    done = subprocess.run(
        [sys.executable, "-m", "mlflow", "gc", "--older-than", f"{days * 24 * 60:.0f}m",
         "--artifacts-destination", settings.artifact_root],
        env=variables, capture_output=True, text=True, check=False, timeout=_PATIENCE_S,
    )  # fmt: skip
    if done.returncode:
        said = masked((done.stderr or done.stdout).strip().splitlines()[-1:][0][:300])
        raise ServiceError(f"asked MLflow to empty its trash, got: {said}")
    return ""

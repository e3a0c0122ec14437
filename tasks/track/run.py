"""A tracked run: config in, metrics and artifacts out, FAILED if the body raises."""

from __future__ import annotations

import json
import logging
import math
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from models.errors import StorageFullError, is_interruption, is_storage_full
from models.settings import get_settings, masked
from tasks.track.content import flatten, write_file
from tasks.track.links import FLOW_RUN_TAG, TASK_RUN_TAG, code_tags, mlflow_run_url, prefect_run_url
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error
from tasks.track.orphans import process_tags
from tasks.track.prefect_side import prefect_side, publish_summary
from tasks.track.spool import SPOOLED, SpoolStore
from tasks.track.store import Point, RunRequest, RunStore, TraceRecord

log = logging.getLogger("loom.track")

# Runs of this process whose calls go to disk because the server stopped answering.
_spooling: set[str] = set()


@dataclass
class TrackedRun:
    """A handle on one run; safe in threads, and in other processes after pickling."""

    run_id: str
    name: str
    experiment: str
    url: str | None = None
    """Address in the MLflow UI; None while the run waits in the spool."""
    prefect_url: str | None = None
    """Address of the flow run in the Prefect UI; None outside of Prefect."""
    latest: dict[str, float] = field(default_factory=dict)
    """Last value of each metric recorded through this handle."""

    @property
    def is_spooled(self) -> bool:
        """Whether calls go to disk because the tracking server is unreachable."""
        return self.run_id.startswith(SPOOLED) or self.run_id in _spooling

    def params(self, values: Mapping[str, Any] | BaseModel) -> None:
        """Record parameters; nested keys are joined by dots."""
        flat = flatten(values.model_dump(mode="json") if isinstance(values, BaseModel) else values)
        self._call(lambda store: store.params(self.run_id, flat))

    def metrics(self, values: Mapping[str, float | None], step: int = 0) -> None:
        """Record numbers in one batch; None (not measured) and NaN are left out."""
        now = time.time_ns() // 1_000_000
        points = [
            Point(name, float(value), step, now)
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        ]
        if points:
            self.latest.update({p.name: p.value for p in points})
            self._call(lambda store: store.metrics(self.run_id, points))

    def tags(self, values: Mapping[str, Any]) -> None:
        """Set tags."""
        text = {key: str(value) for key, value in values.items()}
        self._call(lambda store: store.tags(self.run_id, text))

    def dataset(self, name: str, digest: str, source: Path) -> None:
        """Record which data the run read: a dataset of the run, and two tags to search by."""
        self.tags({"dataset.name": name, "dataset.digest": digest})
        origin = json.dumps({"uri": str(source)})
        self._call(lambda store: store.dataset(self.run_id, name, digest, origin))

    def artifact(self, name: str, content: Any) -> None:
        """Record a file.

        Args:
            name: Path inside the run's artifacts, with an ending that says the format.
            content: A path to copy, text, bytes, a frame (`.parquet` or `.csv`), a pydantic
                object or anything that JSON can hold.

        Raises:
            StorageFullError: No room for it; what was recorded before is kept.
        """
        folder, _, file_name = name.rpartition("/")
        with tempfile.TemporaryDirectory(prefix="loom-") as scratch:
            file = Path(scratch) / file_name
            try:
                write_file(file, content)
                self._call(lambda store: store.artifact(self.run_id, file, folder or None))
            except OSError as error:
                if not is_storage_full(error):
                    raise
                raise StorageFullError(
                    f"cannot write artifact '{name}' of run {self.name} to "
                    f"{get_settings().artifact_root}: no space left; free space there, or "
                    "set LOOM_HOME or LOOM_MLFLOW_ARTIFACTS to another disk. What was recorded "
                    "before is kept"
                ) from error

    def trace(self, record: TraceRecord) -> None:
        """Write a trace that belongs to the run."""
        self._call(lambda store: store.trace(self.run_id, record))

    @contextmanager
    def child(self, name: str, params: Mapping[str, Any] | None = None) -> Iterator[TrackedRun]:
        """Open a nested run; a retried Prefect task goes on with the child of its first try."""
        tags = process_tags()
        task_run_id = prefect_side().task_tags.get(TASK_RUN_TAG)
        if task_run_id:
            # One task may open several children: each is known by its own name.
            tags[TASK_RUN_TAG] = f"{task_run_id}/{name}"
        request = RunRequest(
            self.experiment,
            name,
            time.time_ns() // 1_000_000,
            tags,
            parent_id=self.run_id,
            reuse_tag=TASK_RUN_TAG if task_run_id else None,
        )
        run = _open(request)
        if params:
            run.params(params)
        with _closing(run):
            yield run

    def _call(self, call: Callable[[RunStore], None]) -> None:
        if not self.is_spooled:
            try:
                call(MlflowStore())
                return
            except Exception as error:
                _unless_unreachable(error)
                _spooling.add(self.run_id)
                _warn(self.name, error)
        with _full_disk_is_told():
            call(SpoolStore())


@contextmanager
def tracked_run(
    experiment: str, config: BaseModel | Mapping[str, Any], *, tags: Mapping[str, str] | None = None
) -> Iterator[TrackedRun]:
    """Record the body as one run: parameters from the config, both links, final status.

    Args:
        experiment: MLflow experiment, the name of the system's room.
        config: What defines the run; recorded as parameters.
        tags: More tags, for example the digest of the dataset.
    """
    side = prefect_side()
    run_tags = {**code_tags(), **process_tags(), **side.flow_tags, **(tags or {})}
    if side.flow_run_id:
        page = prefect_run_url(side.flow_run_id)
        run_tags["prefect.flow_run_url"] = page
        run_tags["mlflow.note.content"] = f"Prefect flow run: [{side.run_name}]({page})"
    request = RunRequest(
        experiment,
        side.run_name or experiment,
        time.time_ns() // 1_000_000,
        run_tags,
        reuse_tag=FLOW_RUN_TAG if side.flow_run_id else None,
    )
    run = _open(request)
    run.prefect_url = run_tags.get("prefect.flow_run_url")
    run.params(config)
    monitor = _start_monitor(run)
    try:
        with _closing(run):
            try:
                yield run
            finally:
                # Before the run is closed: the sampler writes to it.
                if monitor is not None:
                    monitor.finish()
    except BaseException as error:
        publish_summary(side, run.url, run.latest, error)
        raise
    publish_summary(side, run.url, run.latest, None)


def close_abandoned_run(flow: Any, flow_run: Any, state: Any) -> None:
    """Prefect hook for crashed and cancelled flow runs: close their MLflow run.

    A process that was killed outright cannot close it itself.
    """
    status = "KILLED" if state.is_cancelled() else "FAILED"
    store = MlflowStore()
    try:
        for experiment in store.client.search_experiments():
            found = store.find(experiment.experiment_id, FLOW_RUN_TAG, str(flow_run.id))
            if found and store.client.get_run(found).info.status == "RUNNING":
                store.tags(found, {"error.message": state.message or state.name or ""})
                store.finish(found, status, time.time_ns() // 1_000_000)
    except Exception as error:
        log.warning("could not close the MLflow run of flow run %s: %s", flow_run.id, error)


def _open(request: RunRequest) -> TrackedRun:
    parent_spooled = (request.parent_id or "").startswith(SPOOLED)
    if not parent_spooled and request.parent_id not in _spooling:
        try:
            store = MlflowStore()
            run_id = store.start(request)
            experiment_id = store.experiment_id(request.experiment)
            url = mlflow_run_url(experiment_id, run_id)
            return TrackedRun(run_id, request.name, request.experiment, url)
        except Exception as error:
            _unless_unreachable(error)
            _warn(request.name, error)
    with _full_disk_is_told():
        return TrackedRun(SpoolStore().start(request), request.name, request.experiment)


@contextmanager
def _closing(run: TrackedRun) -> Iterator[None]:
    """Close a run with the status that its body earned."""
    status = "FINISHED"
    try:
        yield
    except BaseException as error:
        # What is no `Exception`: Ctrl-C, SIGTERM, cancellation.
        is_wanted = not isinstance(error, Exception) or is_interruption(error)
        status = "KILLED" if is_wanted else "FAILED"
        _record_error(run, error)
        raise
    finally:
        end_ms = time.time_ns() // 1_000_000
        run._call(lambda store: store.finish(run.run_id, status, end_ms))


def _record_error(run: TrackedRun, error: BaseException) -> None:
    """Keep the error with the run; never hide it behind a second one."""
    try:
        run.tags({"error.type": type(error).__name__, "error.message": str(error)})
        run.artifact("error.txt", "".join(traceback.format_exception(error)))
    except Exception as second:
        log.warning("could not record the error of run %s: %s", run.name, second)


def _start_monitor(run: TrackedRun) -> Any:
    """Sample processor, memory and disk while the run goes on; not worth failing for."""
    if run.is_spooled or threading.current_thread() is not threading.main_thread():
        return None
    try:
        monitor = MlflowStore().system_monitor(run.run_id)
        monitor.start()
    except Exception as error:
        log.warning("no system metrics for run %s: %s", run.name, error)
        return None
    return monitor


def _unless_unreachable(error: Exception) -> None:
    """Raise errors that the disk would not mend: refused input, no room."""
    with _full_disk_is_told():
        if is_caller_error(error) or is_storage_full(error):
            raise error


@contextmanager
def _full_disk_is_told() -> Iterator[None]:
    """Turn any layer's way of saying that the disk is full into our error."""
    try:
        yield
    except StorageFullError:
        raise
    except Exception as error:
        if not is_storage_full(error):
            raise
        raise StorageFullError(
            f"no space left under {get_settings().home}; free space there, or set LOOM_HOME to "
            "another disk. What was recorded before is kept"
        ) from error


def _warn(name: str, error: Exception) -> None:
    settings = get_settings()
    log.warning(
        "tracking server %s does not take run %s (%s); it is kept in %s, "
        "send it later with: loom sync",
        masked(settings.tracking_uri),
        name,
        brief(error),
        settings.spool,
    )

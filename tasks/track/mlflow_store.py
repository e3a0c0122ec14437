"""Runs recorded in MLflow, by explicit run id: no active run, so any thread may call."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.errors import ServiceError
from models.services.servers import one_start_at_a_time
from models.settings import Settings, get_settings, masked
from tasks.track.store import Point, RunRequest, TraceRecord
from tasks.track.traces import write_trace

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Larger batches are refused by the MLflow server.
BATCH_METRICS = 1000
BATCH_PARAMS = 100
PARAM_LENGTH = 6000
TAG_LENGTH = 8000

# What kind of experiment it is; the UI's own switch still decides which page opens first.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

# What the caller did wrong; every other failure means that the store is out of reach.
CALLER_ERRORS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS"}


def is_caller_error(error: Exception) -> bool:
    """Whether MLflow understood and refused, rather than being out of reach."""
    return getattr(error, "error_code", None) in CALLER_ERRORS


def brief(error: BaseException) -> str:
    """Say in a few words why a call failed: the cause, not the layers of clients around it."""
    cause: BaseException | None = error
    while cause is not None:
        # urllib3 keeps the operating system's words at the end of its own.
        found = re.search(r"\[Errno \d+\] ([A-Za-z ]+)", str(cause))
        if found:
            return found[1].strip().lower()
        cause = cause.__cause__ or cause.__context__
    lines = masked(str(error)).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


@lru_cache(maxsize=8)
def client(tracking_uri: str) -> MlflowClient:
    """Return the client of a tracking store; a new database is set up once."""
    from mlflow import MlflowClient

    if not tracking_uri.startswith("sqlite:///"):
        if not tracking_uri.startswith("http"):
            _require_answer(tracking_uri)
        return MlflowClient(tracking_uri)
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    # Two processes that migrate one new database at once leave it half migrated.
    with one_start_at_a_time(get_settings()):
        made = MlflowClient(tracking_uri)
        made.search_experiments(max_results=1)
    return made


def _require_answer(database: str) -> None:
    """Connect once: MLflow itself would go on trying for most of an hour."""
    from sqlalchemy import create_engine

    timeout_s = int(max(1, get_settings().tracking_timeout_s))
    engine = create_engine(database, connect_args={"connect_timeout": timeout_s})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


class MlflowStore:
    """Records runs in an MLflow server or database."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or get_settings()

    @property
    def client(self) -> MlflowClient:
        """The MLflow client of our tracking address."""
        return client(self.settings.tracking_uri)

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, making it when it is new."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            # A server that runs elsewhere decides itself where artifacts go.
            remote = self.settings.mlflow_tracking_uri is not None
            location = None if remote else f"{self.settings.artifact_root.rstrip('/')}/{name}"
            try:
                return str(
                    self.client.create_experiment(
                        name, artifact_location=location, tags=EXPERIMENT_TAGS
                    )
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
                assert found is not None
        if found.lifecycle_stage == "deleted":
            raise ServiceError(
                f"experiment '{name}' was deleted in MLflow; restore it with: "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)

    def find(self, experiment_id: str, tag: str, value: str) -> str | None:
        """Return the newest run of an experiment that carries a tag value."""
        runs = self.client.search_runs([experiment_id], f"tags.`{tag}` = '{value}'", max_results=1)
        return str(runs[0].info.run_id) if runs else None

    def start(self, request: RunRequest) -> str:
        """Open a run, or go on with the earlier attempt that carries the same tag."""
        experiment_id = self.experiment_id(request.experiment)
        tags = {key: value[:TAG_LENGTH] for key, value in request.tags.items()}
        if request.reuse_tag:
            earlier = self.find(experiment_id, request.reuse_tag, tags[request.reuse_tag])
            if earlier:
                self.client.update_run(earlier, status="RUNNING")
                return earlier
        if request.parent_id:
            tags["mlflow.parentRunId"] = request.parent_id
        run = self.client.create_run(
            experiment_id, start_time=request.start_ms, tags=tags, run_name=request.name
        )
        return str(run.info.run_id)

    def params(self, run_id: str, values: Mapping[str, str]) -> None:
        """Record parameters; MLflow refuses to change one that was recorded before."""
        from mlflow.entities import Param

        known = self.client.get_run(run_id).data.params
        new = [
            Param(key, value[:PARAM_LENGTH]) for key, value in values.items() if key not in known
        ]
        for start in range(0, len(new), BATCH_PARAMS):
            self.client.log_batch(run_id, params=new[start : start + BATCH_PARAMS])

    def metrics(self, run_id: str, points: list[Point]) -> None:
        """Record metric values: a thousand cost what twenty single calls do."""
        from mlflow.entities import Metric

        values = [Metric(p.name, p.value, p.time_ms, p.step) for p in points]
        for start in range(0, len(values), BATCH_METRICS):
            self.client.log_batch(run_id, metrics=values[start : start + BATCH_METRICS])

    def tags(self, run_id: str, values: Mapping[str, str]) -> None:
        """Set tags."""
        from mlflow.entities import RunTag

        self.client.log_batch(
            run_id, tags=[RunTag(key, value[:TAG_LENGTH]) for key, value in values.items()]
        )

    def dataset(self, run_id: str, name: str, digest: str, source: str) -> None:
        """Record which data the run read; MLflow keeps 36 characters of a digest."""
        from mlflow.entities import Dataset, DatasetInput

        read = Dataset(name, digest[:36], "local", source)
        self.client.log_inputs(run_id, [DatasetInput(read, tags=[])])

    def artifact(self, run_id: str, file: Path, folder: str | None) -> None:
        """Copy a local file to the run's artifacts; a copy that fails leaves no half file."""
        try:
            self.client.log_artifact(run_id, str(file), folder)
        except OSError:
            root = self.client.get_run(run_id).info.artifact_uri or ""
            if "://" not in root:
                Path(root, folder or "", file.name).unlink(missing_ok=True)
            raise

    def trace(self, run_id: str, record: TraceRecord) -> None:
        """Write a trace and link it to a run; written again, it stays one."""
        write_trace(self.client, run_id, record)

    def finish(self, run_id: str, status: str, end_ms: int) -> None:
        """Close a run."""
        self.client.set_terminated(run_id, status, end_ms)

    def system_monitor(self, run_id: str) -> Any:
        """Return MLflow's sampler of processor, memory and disk for a run (not started)."""
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        mlflow.set_tracking_uri(self.settings.tracking_uri)
        monitor: Any = SystemMetricsMonitor
        return monitor(run_id, sampling_interval=2, samples_before_logging=5)

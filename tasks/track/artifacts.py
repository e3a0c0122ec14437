"""Files of earlier runs: what one flow made, another goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from models.errors import DataError, ServiceError
from models.settings import Settings, get_settings, masked
from tasks.track.mlflow_store import MlflowStore, brief, is_caller_error


class NoSuchArtifactError(DataError):
    """A run that does not exist, did not finish, or lacks the file that was asked for."""


class FoundArtifact(NamedTuple):
    """A file of an earlier run, copied to this machine."""

    run_id: str
    run_name: str
    path: Path


def fetch_artifact(
    flow: str,
    artifact: str,
    into: Path,
    run_id: str | None = None,
    settings: Settings | None = None,
) -> FoundArtifact:
    """Copy a file of a finished run of a flow.

    Args:
        flow: Name of the Prefect flow.
        artifact: Path inside the run's artifacts.
        into: Folder that it is copied to.
        run_id: The run; None: the newest finished one.
        settings: Where to ask; None: this process's settings.

    Raises:
        NoSuchArtifactError: There is no such run or file.
        ServiceError: The tracking server is out of reach.
    """
    settings = settings or get_settings()
    try:
        run = _find(MlflowStore(settings), flow, run_id)
        if run is None:
            asked = "no finished run" if run_id is None else f"no run {run_id}"
            raise NoSuchArtifactError(
                f"{asked} of {flow} is on record; start one: loom run {flow} (or name a file)"
            )
        into.mkdir(parents=True, exist_ok=True)
        client = MlflowStore(settings).client
        folder = artifact.rpartition("/")[0] or None
        if artifact not in {file.path for file in client.list_artifacts(run.info.run_id, folder)}:
            raise NoSuchArtifactError(
                f"run {run.info.run_name} ({run.info.run_id}) of {flow} has no {artifact}; name "
                "another run"
            )
        path = client.download_artifacts(run.info.run_id, artifact, str(into))
        return FoundArtifact(run.info.run_id, run.info.run_name or run.info.run_id, Path(path))
    except NoSuchArtifactError:
        raise
    except Exception as error:
        if is_caller_error(error):
            raise
        raise ServiceError(
            f"tracking server {masked(settings.tracking_uri)} does not answer: {brief(error)}; "
            "start it, or name a file instead of a run"
        ) from error


def has_store(settings: Settings | None = None) -> bool:
    """Whether anything was ever tracked here; asking a new database would make it."""
    address = (settings or get_settings()).tracking_uri
    return not address.startswith("sqlite:///") or Path(address[len("sqlite:///") :]).exists()


def _find(store: MlflowStore, flow: str, run_id: str | None) -> Any:
    query = f"tags.`prefect.flow_name` = '{flow}'"
    query += " and attributes.status = 'FINISHED'" if run_id is None else ""
    if run_id is not None:
        query += f" and attributes.run_id = '{run_id}'"
    ids = [experiment.experiment_id for experiment in store.client.search_experiments()]
    if not ids:
        return None
    found = store.client.search_runs(
        ids, query, max_results=1, order_by=["attributes.start_time DESC"]
    )
    return found[0] if found else None

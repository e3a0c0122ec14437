"""The clean-up on a real tracking store: what is old goes, what somebody needs stays."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.clean_up import clean_up, preview
from models.agents.spans import Span
from models.retention import CleanUpConfig
from models.settings import get_settings
from tasks.clean_up import results_folder
from tasks.track import TraceRecord
from tasks.track.mlflow_store import MlflowStore
from tests.flows.upgrade_cases import tracked

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

DAY_MS = 86_400_000


def old_run(client: MlflowClient, experiment: str, name: str, **tags: str) -> str:
    """Record a run with an artifact that ended 100 days ago; returns its id."""
    ended = int(time.time() * 1_000) - 100 * DAY_MS
    run = client.create_run(experiment, start_time=ended - 5_000, tags=tags, run_name=name)
    client.log_text(run.info.run_id, "x" * 1_000, "told.txt")
    client.set_terminated(run.info.run_id, "FINISHED", ended)
    return str(run.info.run_id)


def state(client: MlflowClient, run_id: str) -> str:
    return str(client.get_run(run_id).info.lifecycle_stage)


def test_old_runs_and_results_go_and_what_is_needed_stays():
    store = MlflowStore()
    client, experiment = store.client, store.experiment_id("old things")
    parent = old_run(client, experiment, "parent")
    child = old_run(client, experiment, "child", **{"mlflow.parentRunId": parent})
    marked = old_run(client, experiment, "marked", keep="true")
    behind = old_run(client, experiment, "behind a model")
    client.create_registered_model("kept")
    uri = client.get_run(behind).info.artifact_uri
    client.create_model_version("kept", f"{uri}/told.txt", behind)
    young = client.create_run(experiment).info.run_id
    for run_id, key in ((child, "of an old run"), (marked, "of a marked run"), (young, "new")):
        span = Span("talk", "AGENT", None, 1_000_000_000, 2_000_000_000)
        store.trace(run_id, TraceRecord(key, [asdict(span)], {"key": key}))
    results = results_folder()
    results.mkdir(parents=True, exist_ok=True)
    stale, fresh = results / "stale", results / "fresh"
    for file in (stale, fresh):
        file.write_bytes(b"1" * 1_000)
    os.utime(stale, (1, 1))

    config = CleanUpConfig(keep_newest=0, trash_days=0)
    assert "reported only" in preview(config)[-1]
    only_told = clean_up(config)
    assert "would remove 2 of" in only_told.did
    assert state(client, parent) == "active"
    assert stale.exists()

    place = Path(client.get_run(parent).info.artifact_uri.removeprefix("file://"))
    assert (place / "told.txt").exists()
    done = clean_up(config.model_copy(update={"apply": True}))
    assert "removed 2 of" in done.did
    assert not stale.exists()
    assert fresh.exists()
    for kept in (marked, behind, young):
        assert state(client, kept) == "active"
    assert not (place / "told.txt").exists()
    from mlflow.exceptions import MlflowException

    for run_id in (parent, child):
        with pytest.raises(MlflowException, match="not found"):
            client.get_run(run_id)
    left = client.search_traces(locations=[experiment])
    assert {trace.info.tags["key"] for trace in left} == {"of a marked run", "new"}
    _, run = tracked("clean-up")
    assert run.data.metrics["runs/old"] == 2
    assert run.data.metrics["held/mb/mlflow"] > 0
    assert "tracked runs removed" in done.files["report"].read_text()


def test_the_trash_can_be_taken_back_until_its_days_are_over():
    store = MlflowStore()
    client = store.client
    run_id = old_run(client, store.experiment_id("taken back"), "mistake")
    clean_up(CleanUpConfig(keep_newest=0, apply=True))
    assert state(client, run_id) == "deleted"
    client.restore_run(run_id)
    assert state(client, run_id) == "active"
    assert client.list_artifacts(run_id)


def test_the_server_that_loom_up_starts_forgets_old_flow_runs():
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    told = get_settings().environment()
    prefix = "PREFECT_SERVER_SERVICES_DB_VACUUM_"
    read = ServerServicesDBVacuumSettings(
        enabled=told[f"{prefix}ENABLED"], retention_period=told[f"{prefix}RETENTION_PERIOD"]
    )
    assert read.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert read.retention_period.days == 90

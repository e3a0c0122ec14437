"""Shards on a real Dask cluster, one of whose workers is killed in the middle of its shard."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from distributed import Client, LocalCluster

from models.inference import prepare
from models.inference.batch_input import Places, held, read_batch
from models.inference.job import finish_job, run_job, size_of
from models.inference.job_config import JobConfig
from models.inference.journal import Journal
from models.inference.prepare import PreparedJob, prepare_job
from models.inference.progress import JobProgress, Progress
from models.inference.tiny_job import write_tiny_job
from tasks import cluster
from tasks.cluster import run_on_cluster

pytestmark = [pytest.mark.slow, pytest.mark.flow]


@pytest.fixture
def job(tmp_path: Path) -> JobConfig:
    model, data = write_tiny_job(tmp_path, seed=4, n_rows=240)
    return JobConfig(
        data=data,
        output=tmp_path / "out.jsonl",
        model=str(model),
        dtype="float32",
        backend="native",
        kv_gib=0.01,
        checkpoint_tokens=4,
        max_rows=2,
    )


def said(file: Path) -> list[Any]:
    """Everything but how many tokens came from others, which depends on who ran beside."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    return [(line["row"], line["custom_id"], line["response"]["body"]["choices"]) for line in lines]


def killer(client: Client, prepared: PreparedJob) -> Any:
    """Kill a worker that has finished rows of its shard, but not all, once."""
    killed: list[int] = []

    def tell(now: Progress) -> None:
        if killed:
            return
        journal = Journal.look(prepared.folder / "journal")
        for file in {place.file for place in journal.places.values()}:
            shard = int(file.name.split("-")[1])
            part = prepared.plan.shards[shard]
            n_done = sum(place.file == file for place in journal.places.values())
            if not 0 < n_done < part.end_row - part.first_row:
                continue
            (task,) = prepared.folder.glob(f"shards/{shard}-*/task.json")
            os.kill(json.loads(task.read_text())["parent"], signal.SIGKILL)
            killed.append(shard)
            return

    return tell, killed


def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    job: JobConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    alone = job.model_copy(update={"output": tmp_path / "alone.jsonl"})
    run_job(alone, Places(tmp_path / "home", tmp_path))
    # So small a job would not be divided.
    monkeypatch.setattr(prepare, "LEAST_SHARD_S", 1e-6)
    monkeypatch.setattr(prepare, "LOAD_SHARE", 1e6)
    # Looked at often: on a fast machine a shard is done within the usual half second.
    monkeypatch.setattr(cluster, "POLL_S", 0.05)
    places = Places(tmp_path / "home", tmp_path)
    batch = read_batch(job, places)
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        held(batch.folder),
        LocalCluster(processes=True, local_directory=str(tmp_path / "dask"), **options) as workers,
        Client(workers) as client,
    ):
        prepared = prepare_job(batch, 2, places)
        assert len(prepared.plan.shards) > 4
        tell, killed = killer(client, prepared)
        progress = JobProgress(batch.folder, size_of(prepared), tell)
        began = time.monotonic()
        n_shards = len(prepared.plan.shards)
        reports = run_on_cluster(client, batch.folder, n_shards, progress)
        report = finish_job(prepared, reports, began)
    assert killed, "no worker was killed in the middle"
    assert report.deaths >= 1
    assert (report.merged.rows_ok, report.merged.rows_failed) == (240, 0)
    assert Journal.open(batch.folder / "journal").doubles == 0
    assert said(tmp_path / "out.jsonl") == said(tmp_path / "alone.jsonl")

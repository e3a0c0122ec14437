"""How runs end that cannot end themselves: killed, crashed, out of disk."""

import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Crashed

from models.errors import StorageFullError
from models.settings import get_settings
from tasks.track import (
    close_abandoned_run,
    close_orphaned_runs,
    tracked_run,
)


def test_the_run_of_a_process_that_was_killed_is_closed_by_the_next_one(
    all_runs: Callable[[], list[Any]],
):
    code = (
        "import os\n"
        "from tasks.track import tracked_run\n"
        "with tracked_run('room', {}, tags={'prefect.flow_run_id': 'flow-1'}) as run:\n"
        "    with run.child('part'):\n"
        "        os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert {run.info.status for run in all_runs()} == {"RUNNING"}
    with tracked_run("room", {}) as alive:
        closed = close_orphaned_runs()
    assert sorted((orphan.name, orphan.flow_run_id) for orphan in closed) == [
        ("part", None),
        ("room", "flow-1"),
    ]
    statuses = {run.info.run_id: run.info.status for run in all_runs()}
    assert statuses.pop(alive.run_id) == "FINISHED"
    assert set(statuses.values()) == {"FAILED"}


FULL_DISK = """
import logging, resource, signal, sys
logging.disable()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from models.errors import StorageFullError
from tasks.track import tracked_run
try:
    with tracked_run("room", {"a": 1}) as run:
        run.artifact("small.txt", "kept")
        limit = 4 * 1024**2
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        run.artifact("big.bin", bytes(2 * limit))
except StorageFullError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_recorded(
    loom_home: Path, client: Callable[[], MlflowClient], all_runs: Callable[[], list[Any]]
):
    # The kernel's file size limit makes writes fail like a full disk does, for any user.
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK], capture_output=True, text=True, check=False
    )
    assert done.returncode == StorageFullError.exit_code, done.stderr
    assert "cannot write artifact 'big.bin'" in done.stdout
    assert "LOOM_HOME" in done.stdout
    (found,) = all_runs()
    assert found.info.status == "FAILED"
    names = {file.path for file in client().list_artifacts(found.info.run_id)}
    assert names == {"small.txt", "error.txt"}
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_an_artifact_disk_that_fills_up_keeps_whole_files_only(
    tiny_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    client: Callable[[], MlflowClient],
    all_runs: Callable[[], list[Any]],
):
    monkeypatch.setenv("LOOM_MLFLOW_ARTIFACTS", str(tiny_disk))
    get_settings.cache_clear()

    def record() -> None:
        with tracked_run("room", {}) as run:
            run.artifact("small.txt", "kept")
            run.artifact("big.bin", bytes(2 * 1024**2))

    with pytest.raises(StorageFullError, match="no space left"):
        record()
    (found,) = all_runs()
    assert found.info.status == "FAILED"
    names = {file.path for file in client().list_artifacts(found.info.run_id)}
    assert names == {"small.txt", "error.txt"}


@pytest.mark.parametrize(
    ("state", "status"), [(Crashed(message="worker died"), "FAILED"), (Cancelled(), "KILLED")]
)
def test_the_run_of_a_killed_flow_is_closed_by_the_hook(
    state: State[Any], status: str, client: Callable[[], MlflowClient]
):
    # A process that was killed outright leaves its run open.
    store = client()
    experiment = store.create_experiment("room")
    tags = {"prefect.flow_run_id": "flow-1"}
    left = store.create_run(experiment, tags=tags).info.run_id
    other = store.create_run(experiment, tags={"prefect.flow_run_id": "flow-2"}).info.run_id

    close_abandoned_run(None, SimpleNamespace(id="flow-1"), state)
    assert store.get_run(left).info.status == status
    assert store.get_run(other).info.status == "RUNNING"


def test_the_hook_leaves_a_closed_run_as_it_is(client: Callable[[], MlflowClient]):
    with tracked_run("room", {}, tags={"prefect.flow_run_id": "flow-1"}) as run:
        pass
    close_abandoned_run(None, SimpleNamespace(id="flow-1"), Crashed())
    assert client().get_run(run.run_id).info.status == "FINISHED"

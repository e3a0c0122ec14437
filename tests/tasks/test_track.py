import json
import pickle
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Crashed

from models.errors import ServiceError, StorageFullError
from models.settings import get_settings
from tasks.track import (
    close_abandoned_run,
    close_orphaned_runs,
    recent_runs,
    replay_spool,
    spooled_runs,
    tracked_run,
)
from tasks.track.content import flatten

CONFIG = {"window_s": 60, "costs": {"cancel": 3.0}}


def client() -> MlflowClient:
    return MlflowClient(get_settings().tracking_uri)


def all_runs() -> list[Any]:
    store = client()
    return list(store.search_runs([e.experiment_id for e in store.search_experiments()]))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Point tracking at a port where nobody listens; the result brings our own store back."""
    monkeypatch.setenv("LOOM_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    get_settings.cache_clear()

    def mend() -> None:
        monkeypatch.delenv("LOOM_MLFLOW_TRACKING_URI")
        get_settings.cache_clear()

    return mend


def record_everything() -> str:
    with tracked_run("room", CONFIG, tags={"why": "test"}) as run:
        run.metrics({"stage/good": 1.5, "none": None, "nan": float("nan")})
        run.metrics({"loss": 0.5}, step=7)
        run.dataset("outages", "0" * 64, Path("outages.csv"))
        run.artifact("plan/plan.json", {"a": [1, 2]})
        run.artifact("table.parquet", pd.DataFrame({"x": [1, 2]}))
        with run.child("fit", {"depth": 4}) as child:
            child.metrics({"pinball": 0.25})
        return run.run_id


def assert_everything(parent: Any, child: Any) -> None:
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"window_s": "60", "costs.cancel": "3.0"}
    figures = {k: v for k, v in parent.data.metrics.items() if not k.startswith("system/")}
    assert figures == {"stage/good": 1.5, "loss": 0.5}
    assert parent.data.tags["why"] == "test"
    assert parent.data.tags["dataset.digest"] == "0" * 64
    assert [read.dataset.name for read in parent.inputs.dataset_inputs] == ["outages"]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.data.params, child.data.metrics) == ({"depth": "4"}, {"pinball": 0.25})
    history = client().get_metric_history(parent.info.run_id, "loss")
    assert [(point.step, point.value) for point in history] == [(7, 0.5)]
    fetched = Path(client().download_artifacts(parent.info.run_id, "plan/plan.json"))
    assert json.loads(fetched.read_text()) == {"a": [1, 2]}
    table = client().download_artifacts(parent.info.run_id, "table.parquet")
    assert pd.read_parquet(table)["x"].tolist() == [1, 2]


def test_params_metrics_artifacts_and_children_can_be_read_back():
    run_id = record_everything()
    runs = {run.info.run_name: run for run in all_runs()}
    assert runs["room"].info.run_id == run_id
    assert_everything(runs["room"], runs["fit"])


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("boom"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_a_body_that_raises_marks_its_run_and_keeps_the_error(error: BaseException, status: str):
    with pytest.raises(type(error)), tracked_run("room", CONFIG) as run:
        raise error
    (found,) = all_runs()
    assert (found.info.run_id, found.info.status) == (run.run_id, status)
    assert found.data.tags["error.type"] == type(error).__name__
    fetched = Path(client().download_artifacts(run.run_id, "error.txt")).read_text()
    assert "Traceback" in fetched


def test_threads_and_pickled_handles_write_to_the_same_run():
    with tracked_run("room", CONFIG) as run:
        copy = pickle.loads(pickle.dumps(run))
        threads = [
            threading.Thread(target=copy.metrics, args=({f"thread_{n}": n},)) for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (found,) = all_runs()
    assert {f"thread_{n}": float(n) for n in range(8)}.items() <= found.data.metrics.items()


def test_a_thousand_metrics_go_in_one_batch_and_more_go_in_several():
    with tracked_run("room", CONFIG) as run:
        run.metrics({f"m{n}": float(n) for n in range(2_345)})
    (found,) = all_runs()
    assert sum(name.startswith("m") for name in found.data.metrics) == 2_345


def test_an_unreachable_server_loses_nothing(
    unreachable: Callable[[], None], caplog: pytest.LogCaptureFixture
):
    run_id = record_everything()
    assert run_id.startswith("spooled-")
    assert "does not take run room (connection refused)" in caplog.text
    assert "loom sync" in caplog.text
    assert len(spooled_runs()) == 2
    with pytest.raises(ServiceError, match=r"did not take 2 spooled runs.*they stay in"):
        replay_spool()
    assert len(spooled_runs()) == 2

    unreachable()
    assert replay_spool() == 2
    assert spooled_runs() == []
    runs = {run.info.run_name: run for run in all_runs()}
    assert_everything(runs["room"], runs["fit"])
    assert runs["room"].data.tags["loom.spooled"] == "true"


def test_a_replay_that_stops_half_way_goes_on_without_doubling(
    unreachable: Callable[[], None], monkeypatch: pytest.MonkeyPatch
):
    record_everything()
    unreachable()
    from tasks.track.mlflow_store import MlflowStore

    sent = MlflowStore.artifact
    calls: list[str] = []

    def second_time_fails(self: MlflowStore, run_id: str, file: Path, folder: str | None) -> None:
        calls.append(file.name)
        if len(calls) == 2:
            raise ConnectionError("gone again")
        sent(self, run_id, file, folder)

    monkeypatch.setattr(MlflowStore, "artifact", second_time_fails)
    with pytest.raises(ServiceError, match="gone again"):
        replay_spool()
    monkeypatch.setattr(MlflowStore, "artifact", sent)
    # The other run was sent all the same.
    assert replay_spool() == 1
    runs = {run.info.run_name: run for run in all_runs()}
    assert len(all_runs()) == 2
    assert_everything(runs["room"], runs["fit"])


def spool_of(name: str) -> Path:
    """Return the folder of the spooled run with this name."""
    (found,) = [f for f in spooled_runs() if f'"name": "{name}"' in (f / "calls.jsonl").read_text()]
    return found


def test_a_torn_last_line_is_no_call_and_holds_nothing_up(unreachable: Callable[[], None]):
    record_everything()
    with open(spool_of("room") / "calls.jsonl", "a") as file:
        file.write('{"call": "metrics", "poi')
    empty = get_settings().spool / "spooled-empty"
    empty.mkdir()
    (empty / "calls.jsonl").touch()
    unreachable()
    assert replay_spool() == 2
    runs = {run.info.run_name: run for run in all_runs()}
    assert_everything(runs["room"], runs["fit"])


def test_a_damaged_run_stays_and_the_others_are_sent(unreachable: Callable[[], None]):
    record_everything()
    with tracked_run("other", {"a": 1}) as run:
        run.metrics({"x": 1.0})
    calls = spool_of("fit") / "calls.jsonl"
    lines = calls.read_text().splitlines()
    whole = calls.read_text()
    calls.write_text("\n".join([lines[0], lines[1][:10], *lines[2:], ""]))
    unreachable()
    with pytest.raises(ServiceError, match=r"line 2 of .* is damaged"):
        replay_spool()
    assert {run.info.run_name for run in all_runs()} == {"room", "other"}
    calls.write_text(whole)
    assert replay_spool() == 1
    assert len(all_runs()) == 3


def test_a_refused_start_is_not_skipped(unreachable: Callable[[], None]):
    with tracked_run("room", CONFIG):
        pass
    unreachable()
    store = client()
    experiment = store.create_experiment("room")
    store.delete_experiment(experiment)
    with pytest.raises(ServiceError, match="mlflow experiments restore"):
        replay_spool()
    assert len(spooled_runs()) == 1
    store.restore_experiment(experiment)
    assert replay_spool() == 1
    assert [run.info.run_name for run in all_runs()] == ["room"]


def test_a_deleted_experiment_does_not_stop_a_run(caplog: pytest.LogCaptureFixture):
    store = client()
    store.delete_experiment(store.create_experiment("room"))
    with tracked_run("room", CONFIG):
        pass
    assert "was deleted in MLflow" in caplog.text
    assert len(spooled_runs()) == 1


def test_a_database_that_does_not_answer_counts_as_unreachable_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    # MLflow itself would try for most of an hour.
    address = f"postgresql://usr:S3CRET@127.0.0.1:{free_port()}/mlflow"
    monkeypatch.setenv("LOOM_MLFLOW_DATABASE_URL", address)
    get_settings.cache_clear()
    with tracked_run("room", CONFIG):
        pass
    assert len(spooled_runs()) == 1
    assert "usr:***@127.0.0.1" in caplog.text
    assert "S3CRET" not in caplog.text
    with pytest.raises(ServiceError) as caught:
        recent_runs()
    assert "S3CRET" not in str(caught.value)


def test_the_run_of_a_process_that_was_killed_is_closed_by_the_next_one():
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


def test_a_run_that_failed_while_the_server_was_away_is_failed_after_the_replay(
    unreachable: Callable[[], None],
):
    with pytest.raises(ValueError, match="boom"), tracked_run("room", CONFIG):
        raise ValueError("boom")
    unreachable()
    assert replay_spool() == 1
    (found,) = all_runs()
    assert (found.info.status, found.data.tags["error.message"]) == ("FAILED", "boom")


def test_input_that_mlflow_refuses_is_an_error_and_not_spooled():
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException), tracked_run("room", CONFIG) as run:
        run.metrics({"bad@name": 1.0})
    assert spooled_runs() == []


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


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_recorded(loom_home: Path):
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
    tiny_disk: Path, monkeypatch: pytest.MonkeyPatch
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


def test_recent_runs_lists_flow_runs_only_newest_first():
    for name in ("first", "second"):
        tags = {"prefect.flow_name": name, "prefect.flow_run_id": name}
        with tracked_run("room", {}, tags=tags) as run, run.child("part"):
            pass
    with tracked_run("room", {}):
        pass
    found = recent_runs()
    assert [run.prefect_url for run in found] == [
        "http://127.0.0.1:4200/runs/flow-run/second",
        "http://127.0.0.1:4200/runs/flow-run/first",
    ]
    assert len(recent_runs(limit=1)) == 1
    assert [run.prefect_url for run in recent_runs(flow="first")] == [found[1].prefect_url]


@pytest.mark.parametrize(
    ("state", "status"), [(Crashed(message="worker died"), "FAILED"), (Cancelled(), "KILLED")]
)
def test_the_run_of_a_killed_flow_is_closed_by_the_hook(state: State[Any], status: str):
    # A process that was killed outright leaves its run open.
    store = client()
    experiment = store.create_experiment("room")
    tags = {"prefect.flow_run_id": "flow-1"}
    left = store.create_run(experiment, tags=tags).info.run_id
    other = store.create_run(experiment, tags={"prefect.flow_run_id": "flow-2"}).info.run_id

    close_abandoned_run(None, SimpleNamespace(id="flow-1"), state)
    assert store.get_run(left).info.status == status
    assert store.get_run(other).info.status == "RUNNING"


def test_the_hook_leaves_a_closed_run_as_it_is():
    with tracked_run("room", {}, tags={"prefect.flow_run_id": "flow-1"}) as run:
        pass
    close_abandoned_run(None, SimpleNamespace(id="flow-1"), Crashed())
    assert client().get_run(run.run_id).info.status == "FINISHED"


def test_nested_params_are_joined_by_dots():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": "1", "d": "[1, 2]"}

"""A tracking server that is away, and the runs that wait on disk for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from models.errors import ServiceError
from models.settings import get_settings
from tasks.track import (
    recent_runs,
    replay_spool,
    spooled_runs,
    tracked_run,
)

CONFIG = {"window_s": 60, "costs": {"cancel": 3.0}}


def test_an_unreachable_server_loses_nothing(
    unreachable: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    all_runs: Callable[[], list[Any]],
    record_everything: Callable[[], str],
    assert_everything: Callable[[Any, Any], None],
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
    unreachable: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
    all_runs: Callable[[], list[Any]],
    record_everything: Callable[[], str],
    assert_everything: Callable[[Any, Any], None],
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


def test_a_torn_last_line_is_no_call_and_holds_nothing_up(
    unreachable: Callable[[], None],
    all_runs: Callable[[], list[Any]],
    record_everything: Callable[[], str],
    assert_everything: Callable[[Any, Any], None],
):
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


def test_a_damaged_run_stays_and_the_others_are_sent(
    unreachable: Callable[[], None],
    all_runs: Callable[[], list[Any]],
    record_everything: Callable[[], str],
):
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


def test_a_refused_start_is_not_skipped(
    unreachable: Callable[[], None],
    client: Callable[[], MlflowClient],
    all_runs: Callable[[], list[Any]],
):
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


def test_a_deleted_experiment_does_not_stop_a_run(
    caplog: pytest.LogCaptureFixture, client: Callable[[], MlflowClient]
):
    store = client()
    store.delete_experiment(store.create_experiment("room"))
    with tracked_run("room", CONFIG):
        pass
    assert "was deleted in MLflow" in caplog.text
    assert len(spooled_runs()) == 1


def test_a_database_that_does_not_answer_counts_as_unreachable_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, free_port: Callable[[], int]
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


def test_a_run_that_failed_while_the_server_was_away_is_failed_after_the_replay(
    unreachable: Callable[[], None], all_runs: Callable[[], list[Any]]
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

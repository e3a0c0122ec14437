"""What a run records can be read back; recent runs."""

import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from flows.command.show import said_of
from flows.registry import find_flow
from models.figures import Figure
from tasks.track import (
    recent_runs,
    tracked_run,
)
from tasks.track.content import flatten

CONFIG = {"window_s": 60, "costs": {"cancel": 3.0}}


def test_params_metrics_artifacts_and_children_can_be_read_back(
    all_runs: Callable[[], list[Any]],
    record_everything: Callable[[], str],
    assert_everything: Callable[[Any, Any], None],
):
    run_id = record_everything()
    runs = {run.info.run_name: run for run in all_runs()}
    assert runs["room"].info.run_id == run_id
    assert_everything(runs["room"], runs["fit"])


@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("boom"), "FAILED"), (KeyboardInterrupt(), "KILLED"), (SystemExit(1), "KILLED")],
)
def test_a_body_that_raises_marks_its_run_and_keeps_the_error(
    error: BaseException,
    status: str,
    client: Callable[[], MlflowClient],
    all_runs: Callable[[], list[Any]],
):
    with pytest.raises(type(error)), tracked_run("room", CONFIG) as run:
        raise error
    (found,) = all_runs()
    assert (found.info.run_id, found.info.status) == (run.run_id, status)
    assert found.data.tags["error.type"] == type(error).__name__
    fetched = Path(client().download_artifacts(run.run_id, "error.txt")).read_text()
    assert "Traceback" in fetched


def test_threads_and_pickled_handles_write_to_the_same_run(all_runs: Callable[[], list[Any]]):
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


def test_a_thousand_metrics_go_in_one_batch_and_more_go_in_several(
    all_runs: Callable[[], list[Any]],
):
    with tracked_run("room", CONFIG) as run:
        run.metrics({f"m{n}": float(n) for n in range(2_345)})
    (found,) = all_runs()
    assert sum(name.startswith("m") for name in found.data.metrics) == 2_345


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


def test_nested_params_are_joined_by_dots():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1, 2]}) == {"a.b.c": "1", "d": "[1, 2]"}


def test_recent_runs_say_policy_and_main_figure_and_the_table_of_flows_names_real_ones():
    tags = {"prefect.flow_name": "plan-upgrades", "selected.policy": "xgb-aft@0.8 online"}
    with tracked_run("room", {}, tags=tags) as run:
        run.metrics({"test/cancellation_rate": 0.078, "existing/cancellation_rate": 0.175})
    (found,) = recent_runs()
    entry = find_flow(found.flow)
    said = said_of(entry, found.tags, found.metrics)
    assert said == ("xgb-aft@0.8 online, cancelled share of starts 7.8% (type-P95 calendar 17.5%)")
    assert said_of(entry, {}, {}) == ""


def test_a_figure_that_was_not_measured_is_named_so_instead_of_failing():
    # Nothing fits into any window: no start, so no share of starts and no regret.
    assert Figure("regret", None, None, "{:.1%}").text() == "regret not measured"
    assert (
        Figure("share", float("nan"), 1.0, "{:.1%}").text()
        == "share not measured (baseline 100.0%)"
    )
    assert Figure("share", 0.5, float("nan"), "{:.1%}").text() == "share 50.0%"
    assert Figure("share", 0.5, 1.0, "{:.1%}").text() == "share 50.0% (baseline 100.0%)"

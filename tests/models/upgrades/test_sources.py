"""Which schema a file has, and the two public ones that are not shipped."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.errors import ConfigError, ContractError, NotEnoughDataError
from models.settings import ROOT
from models.upgrades.history import (
    SOURCES,
    EventTimeError,
    detect_source,
    grid5000_events,
    load_history,
    load_table,
    read_events,
    task_runs,
)

DATASETS = ROOT / "datasets"


def intervals(n: int = 40) -> pd.DataFrame:
    """Unavailability of four nodes in two clusters, every two hours, never at once."""
    place = np.arange(n)
    return pd.DataFrame(
        {
            "node": [f"c{p % 2}/n{p % 4}" for p in place],
            "cluster": [f"c{p % 2}" for p in place],
            "site": "s1",
            "start": 1_120_000_000 + place * 7_200,
            "duration_s": 60 + place,
        }
    )


def tasks(n: int = 30) -> pd.DataFrame:
    """Tasks of three runs; what is measured afterwards gives the runtime away."""
    place = np.arange(n)
    return pd.DataFrame(
        {
            "file": [f"run{p % 3}.json" for p in place],
            "task_type": "blast/split",
            "machine": "m1",
            "runtime_s": 1.5 + place,
            "core_count": [1.0, np.nan] * (n // 2),
            "avg_cpu": 1.5 + place,
            "read_bytes": 1.5 + place,
            "written_bytes": 1.5 + place,
            "memory_bytes": 1.5 + place,
            "input_bytes": place * 10,
            "n_inputs": 1,
            "n_parents": 0,
            "n_children": 2,
        }
    )


def test_each_schema_is_told_by_its_columns():
    for source in SOURCES:
        assert detect_source([*source.columns, "one more"]) is source


def test_every_schema_has_a_card_and_a_contract():
    for source in SOURCES:
        assert (DATASETS / source.dataset / "README.md").is_file()
        assert (DATASETS / source.dataset / "contract.yaml").is_file()


def test_an_unknown_schema_is_refused_with_the_known_ones_and_the_way_out():
    with pytest.raises(ContractError) as caught:
        detect_source(["a", "b"])
    text = str(caught.value)
    assert all(source.name in text for source in SOURCES)
    assert "its columns: a, b" in text
    assert "mapping" in text


def test_a_file_that_lacks_one_column_of_a_schema_is_told_which(tmp_path: Path):
    file = tmp_path / "g.csv"
    intervals().drop(columns="site").to_csv(file, index=False)
    with pytest.raises(ContractError, match=r"lacks 1 of the 5 columns.*site; found: node"):
        load_history(file, None, DATASETS)


def test_the_bundled_file_is_the_default():
    loaded = load_table(None, None, DATASETS)
    assert loaded.source.name == "lanl_outages"
    assert len(loaded.history()) == 16_592


def test_a_mapping_without_data_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="without data"):
        load_history(None, tmp_path / "m.yaml", DATASETS)


def test_grid5000_intervals_become_events_of_their_cluster(tmp_path: Path):
    file = tmp_path / "g.parquet"
    intervals().astype({"node": "category", "cluster": "category"}).to_parquet(file)
    history = load_history(file, None, DATASETS)
    assert history.window_s == 14_400
    assert history.events["type"].tolist() == history.events["domain"].tolist()
    assert set(history.events["service"]) == {"s1"}
    assert history.seconds("duration_s").tolist() == [60 + place for place in range(40)]


def test_what_grid5000_cannot_mean_is_dropped_and_counted():
    frame = intervals()
    frame.loc[3, "duration_s"] = 0
    # Down for ten hours: the interval of the same node eight hours later lies inside.
    frame.loc[10, "duration_s"] = 36_000
    frame = pd.concat([frame, frame.iloc[[20]]], ignore_index=True)
    history = grid5000_events(frame)
    assert history.dropped == {
        "duration of zero seconds": 1,
        "repeated node and start": 1,
        "node still down from an earlier interval": 1,
    }
    assert len(history) == 38


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("duration_s", -1, "row 2 has a negative duration"),
        ("duration_s", np.nan, "row 2 has a missing or infinite duration"),
        ("start", np.inf, "row 2 has no usable start"),
    ],
)
def test_an_impossible_interval_is_refused_with_its_row(column: str, value: float, message: str):
    frame = intervals().astype({"start": float, "duration_s": float})
    frame.loc[2, column] = value
    with pytest.raises(EventTimeError, match=message):
        grid5000_events(frame)


def test_an_interval_of_a_full_day_leaves_other_nodes_alone():
    frame = intervals()
    frame.loc[0, "duration_s"] = 86_400
    others = frame["node"] != frame["node"][0]
    kept = set(grid5000_events(frame).events["start_s"])
    assert set(frame["start"][others]) <= kept


def test_what_is_known_only_afterwards_never_reaches_a_task_run():
    frame = tasks()
    runs = task_runs(frame)
    late = ["avg_cpu", "read_bytes", "written_bytes", "memory_bytes"]
    assert not {*late} & {*runs.tasks}
    altered = task_runs(frame.assign(**dict.fromkeys(late, 0.0)))
    assert altered.digest == runs.digest
    assert {"run_id", "runtime_s", *runs.categories, *runs.numbers} == {*runs.tasks}


def test_each_run_is_left_out_once_and_whole():
    runs = task_runs(tasks())
    tested = []
    for fold in runs.folds():
        assert set(runs.tasks["run_id"].iloc[fold.test]) == {fold.run_id}
        assert fold.run_id not in set(runs.tasks["run_id"].iloc[fold.train])
        tested.extend(fold.test.tolist())
    assert sorted(tested) == list(range(30))


def test_one_run_cannot_be_left_out():
    with pytest.raises(NotEnoughDataError, match=r"at least 2 runs, got 1 \('run0.json'\)"):
        list(task_runs(tasks().assign(file="run0.json")).folds())


def test_a_missing_runtime_is_refused_with_its_row():
    frame = tasks()
    frame.loc[4, "runtime_s"] = np.nan
    with pytest.raises(EventTimeError, match="row 4 has a missing or infinite runtime"):
        task_runs(frame)


def test_workflow_tasks_serve_no_plan(tmp_path: Path):
    file = tmp_path / "w.parquet"
    tasks().to_parquet(file)
    assert len(task_runs(load_table(file, None, DATASETS).checked.frame)) == 30
    with pytest.raises(ContractError, match="no start times"):
        load_history(file, None, DATASETS)


def test_checked_rows_are_read_by_their_schema():
    assert read_events(intervals()).source == "grid5000_node_unavailability"

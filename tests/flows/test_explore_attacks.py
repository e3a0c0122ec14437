"""The flow that searches for attacks: figures per generation, what is left, going on."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from mlflow import MlflowClient

from flows.explore_attacks import explore_attacks, preview
from models.detection.explorer.config import ExploreConfig
from models.detection.intel import IntelStore
from models.errors import DataError
from models.settings import get_settings
from tasks.explore import FILES

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

CONFIG = ExploreConfig(generations=3, population=12, sessions=1, confirmations=1, mutations=12)


def test_a_search_is_recorded_by_generation_and_goes_on_where_it_was(tmp_path: Path):
    config = CONFIG.model_copy(update={"folder": tmp_path / "search"})
    summary = explore_attacks(config)
    assert summary.baseline == "as many attacks drawn by chance"
    assert "in 3 generations" in summary.did
    assert all(figure.baseline is not None for figure in summary.figures)
    assert all(file.is_file() for file in summary.files.values())

    client = MlflowClient(get_settings().tracking_uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "detection"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "explore/evading_cells")
    assert [point.step for point in history] == [0, 1, 2]
    beside = client.get_metric_history(run.info.run_id, "random/evading_cells")
    assert beside[0].value == history[0].value  # both begin by chance
    kept = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert set(FILES) <= kept
    archive = orjson.loads((tmp_path / "search" / "archive.json").read_bytes())
    assert len(archive["generations"]) == 3
    survivors = [one for one in archive["elites"] if not one["is_noticed"] and one["is_carried"]]
    found = (tmp_path / "search" / "intel.jsonl").read_bytes().splitlines()
    assert len(found) == len(survivors) == history[-1].value
    known = IntelStore(get_settings().home / "detection").entries()
    assert sum(one.tag == "EAS" for one in known) == len(survivors)

    before = (tmp_path / "search" / "findings.jsonl").read_bytes()
    explore_attacks(config)
    again = client.search_runs([experiment.experiment_id])[0]
    assert client.get_metric_history(again.info.run_id, "explore/evading_cells") == []
    assert (tmp_path / "search" / "findings.jsonl").read_bytes() == before
    assert any("3 generations done" in line for line in preview(config))


def test_a_folder_of_another_search_and_a_file_that_is_no_detector_are_refused(tmp_path: Path):
    small = CONFIG.model_copy(
        update={"generations": 1, "population": 4, "folder": tmp_path / "search"}
    )
    explore_attacks(small)
    with pytest.raises(DataError, match="is of another search"):
        explore_attacks(small.model_copy(update={"seed": 8}))
    file = tmp_path / "no.json"
    file.write_text("{}")
    with pytest.raises(DataError, match="is no detector"):
        explore_attacks(small.model_copy(update={"detector": file}))

"""The flow that scans servers, read back from its tracked run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from prefect.logging import disable_run_logger

from flows.scan_servers import preview, scan_servers
from models.detection.integrity.config import ScanConfig
from models.detection.integrity.pins import Pins
from models.errors import DataError
from models.settings import get_settings
from tasks.integrity import pins_file, scan_metrics
from tests.models.detection.hostile_server import HEAD, TRICKS

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]


def newest() -> Any:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [e.experiment_id for e in client.search_experiments() if e.name == "detection"]
    return client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=1)[0]


def artifact(run: Any, name: str, into: Path) -> str:
    client = MlflowClient(get_settings().tracking_uri)
    return Path(client.download_artifacts(run.info.run_id, name, str(into))).read_text()


def test_the_shipped_sample_is_scanned_and_what_was_found_is_recorded(tmp_path: Path):
    config = ScanConfig(pins=tmp_path / "pins.json")
    assert any("agent_logs" in line for line in preview(config))
    summary = scan_servers(config)
    assert {f.name: f.value for f in summary.figures}["to look at"] == 2.0
    run = newest()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["servers/warning"] == 2
    assert run.data.metrics["technique/ADR.T0006"] == 1
    findings = json.loads(artifact(run, "findings.json", tmp_path))
    assert {one["rule"] for one in findings} == {"rug-pull", "ordering-description"}
    document = json.loads(artifact(run, "findings.sarif", tmp_path))
    assert document["version"] == "2.1.0"
    page = artifact(run, "servers.html", tmp_path)
    assert "Tool Rug Pull" in page
    assert "~/.netrc" in page
    assert summary.files["report"].read_text() == page
    assert "<script" not in page


def test_pins_are_kept_between_runs_and_a_broken_approval_is_an_error(tmp_path: Path):
    source = tmp_path / "shop" / "server.py"
    source.parent.mkdir()
    source.write_text(HEAD + TRICKS["silent-send"])
    config = ScanConfig(data=source.parent, approve=True)
    first = {f.name: f.value for f in scan_servers(config).figures}
    assert (first["tools approved"], first["to look at"]) == (1.0, 1.0)
    source.write_text(source.read_text().replace("Add two numbers.", "Add <b>any</b> numbers."))
    scan_servers(ScanConfig(data=source.parent))
    findings = json.loads(artifact(newest(), "findings.json", tmp_path))
    assert [one["rule"] for one in findings if one["is_hard"]] == ["rug-pull"]
    assert "&lt;b&gt;any" in artifact(newest(), "servers.html", tmp_path)
    assert Pins(pins_file(config)).servers == {"server"}


def test_a_path_that_is_not_there_fails_the_run(tmp_path: Path):
    config = ScanConfig(data=tmp_path / "gone")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        preview(config)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        scan_servers(config)
    assert newest().info.status == "FAILED"


def test_figures_of_a_scan_are_counts():
    from models.detection.integrity.scan import Scan

    with disable_run_logger():
        assert scan_metrics(Scan())["servers/error"] == 0.0

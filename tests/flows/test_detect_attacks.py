"""The flows of detection: sessions judged, recorded, judged once; a detector trained."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flows.detect_attacks import detect_attacks, preview
from flows.train_detector import train_detector
from models.detection.config import DetectConfig, TrainFlowConfig
from models.detection.evaluation.sessions import DEV
from models.detection.reasoning.detector import Detector
from models.errors import DataError
from models.figures import FlowSummary
from models.llm.errors import BadRequestError
from models.settings import get_settings
from tests.flows.upgrade_cases import tracked

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]


def values(summary: FlowSummary) -> dict[str, Any]:
    return {figure.name: figure.value for figure in summary.figures}


@pytest.fixture
def sessions(tmp_path: Path) -> Path:
    """Fourteen dev sessions, the first ones followed an injection or did not."""
    file = tmp_path / "some.jsonl"
    with gzip.open(DEV, "rb") as lines:
        file.write_bytes(b"".join(next(lines) for _ in range(14)))
    return file


def test_the_samples_of_all_formats_are_judged_recorded_and_judged_once(loom_home: Path):
    summary = detect_attacks(DetectConfig())
    client, run = tracked("detect-attacks")
    assert run.info.status == "FINISHED"
    metrics = run.data.metrics
    assert metrics["sessions"] == metrics["sessions/examined"] >= 11
    assert metrics["sessions/alerts"] == values(summary)["alerts"] >= 2
    assert run.data.tags["detector.digest"]
    names = {one.path for one in client.list_artifacts(run.info.run_id)}
    assert {"verdicts.jsonl", "findings.ocsf.jsonl", "spans.otlp.json", "index.html",
            "contracts", "sessions"} <= names  # fmt: skip
    verdicts = [json.loads(line) for line in summary.files["verdicts"].read_text().splitlines()]
    told = {(v["agent"], v["outcome"]) for v in verdicts}
    assert {("codex", "executed"), ("openhands", "executed"), ("cline", "attempted"),
            ("claude-code", "benign")} <= told  # fmt: skip
    assert "sessions/" in summary.files["report"].read_text()

    again = detect_attacks(DetectConfig())
    _, second = tracked("detect-attacks")
    assert second.data.metrics["sessions/examined"] == 0
    assert values(again)["alerts"] == values(summary)["alerts"]
    assert again.files["verdicts"].read_bytes() == summary.files["verdicts"].read_bytes()
    assert "0 not judged yet" in preview(DetectConfig())[1]


def test_a_home_folder_has_an_inventory_and_a_second_run_tells_what_of_it_changed(tmp_path: Path):
    home = tmp_path / "user"
    log = home / ".codex" / "sessions" / "2026" / "rollout-1.jsonl"
    log.parent.mkdir(parents=True)
    shutil.copyfile(get_settings().datasets / "detection" / "agent_logs" / "codex.jsonl", log)
    skill = home / ".claude" / "skills" / "tidy" / "SKILL.md"
    skill.parent.mkdir(parents=True)
    skill.write_text("Tidy up.")
    config = home / ".claude.json"
    entry = {"command": "npx", "args": ["-y", "server-files", "/srv"]}
    config.write_text(json.dumps({"mcpServers": {"files": entry}}))
    first = detect_attacks(DetectConfig(data=home))
    client, run = tracked("detect-attacks")
    told = {name: run.data.metrics[f"inventory/{name}"]
            for name in ("items", "added", "changed", "removed", "unpinned")}  # fmt: skip
    assert told == {"items": 3, "added": 0, "changed": 0, "removed": 0, "unpinned": 1}
    assert {"inventory.csv", "inventory_changes.csv"} <= {
        one.path for one in client.list_artifacts(run.info.run_id)
    }
    page = first.files["report"].read_text()
    assert "What shapes the agents, and what of it changed" in page
    assert "there is nothing to compare with" in page

    entry["args"] = ["-y", "server-files@1.2.3", "/"]
    config.write_text(json.dumps({"mcpServers": {"files": entry}}))
    skill.unlink()
    again = detect_attacks(DetectConfig(data=home))
    client, run = tracked("detect-attacks")
    metrics = run.data.metrics
    assert metrics["sessions/examined"] == 0
    assert values(again)["alerts"] == values(first)["alerts"]  # a change alone is no alert
    assert (metrics["inventory/changed"], metrics["inventory/removed"]) == (2, 1)
    assert (metrics["inventory/items"], metrics["inventory/unpinned"]) == (2, 0)
    file = client.download_artifacts(run.info.run_id, "inventory_changes.csv", str(tmp_path))
    changes = pd.read_csv(file)
    assert sorted(zip(changes["change"], changes["sort"], strict=True)) == [
        ("changed", "mcp_server"), ("changed", "package"), ("removed", "skill"),
    ]  # fmt: skip
    assert "before: npx -y server-files /srv" in again.files["report"].read_text()


def test_a_file_of_sessions_is_judged_in_partitions_on_dask_as_in_threads(
    sessions: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from tasks.runner import task_runner

    config = DetectConfig(data=sessions, partition=4, spans="none")
    threads = detect_attacks(config)
    kept = [json.loads(line) for line in threads.files["verdicts"].read_text().splitlines()]
    assert len(kept) == 14
    monkeypatch.setenv("LOOM_HOME", str(tmp_path / "other-home"))
    monkeypatch.setenv("LOOM_RUNNER", "dask")
    get_settings.cache_clear()
    dask = detect_attacks.with_options(task_runner=task_runner())(config)
    found = [json.loads(line) for line in dask.files["verdicts"].read_text().splitlines()]
    for one in (*kept, *found):
        one.pop("elapsed_ms")
    assert found == kept


def test_what_is_wrong_is_told_before_anything_is_judged(tmp_path: Path):
    with pytest.raises(DataError, match="neither a file nor a folder"):
        detect_attacks(DetectConfig(data=tmp_path / "gone"))
    _, run = tracked("detect-attacks")
    assert run.info.status == "FAILED"
    (tmp_path / "d.json").write_text("{}")
    with pytest.raises(DataError, match="no detector of"):
        detect_attacks(DetectConfig(detector=tmp_path / "d.json"))
    with pytest.raises(BadRequestError):
        detect_attacks(DetectConfig(judge="nowhere"))


def test_a_detector_is_trained_recorded_and_judges(tmp_path: Path, sessions: Path):
    small = TrainFlowConfig(
        scenarios=300, coding=60, source_files=20, recorded=(), dev=(), output=tmp_path / "d.json"
    )
    summary = train_detector(small)
    client, run = tracked("train-detector")
    detector = Detector.load(tmp_path / "d.json")
    assert run.data.tags["detector.digest"] == detector.digest
    assert run.data.metrics["held_out/recall"] == values(summary)["recall, held out"] > 0.4
    names = {one.path for one in client.list_artifacts(run.info.run_id, "detector")}
    assert names == {"detector/detector.json", "detector/README.md"}
    judged = detect_attacks(DetectConfig(data=sessions, detector=tmp_path / "d.json"))
    lines = judged.files["verdicts"].read_text().splitlines()
    assert {json.loads(line)["detector"] for line in lines} == {detector.digest}

"""`loom bench detection`: a file of sessions and a file of texts that it has never seen."""

import gzip
import json
from pathlib import Path

import pytest

from flows.command.bench_detection import run
from models.detection.bench import DetectionBenchConfig
from models.errors import DataError
from models.settings import ROOT

DEV = ROOT / "datasets" / "detection" / "agentdojo_generated" / "dev.jsonl.gz"


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sessions") / "mine.jsonl"
    with gzip.open(DEV, "rb") as lines:
        file.write_bytes(b"".join(line for line, _ in zip(lines, range(60), strict=False)))
    return file


def test_a_file_of_sessions_is_scored_beside_trivial_detectors(sessions: Path):
    steps: list[str] = []
    report = run(sessions, 7, steps.append, DetectionBenchConfig())
    rows = {row["detector"]: row for row in report.document["session_scores"]}
    assert {row["cases"] for row in rows.values()} == {"mine.jsonl"}
    attacks = sum(
        json.loads(line)["label"] for line in sessions.read_text(encoding="utf-8").splitlines()
    )
    assert 0 < attacks < 60
    always = rows["always"]
    assert (always["found"], always["alarms"]) == (attacks, 60 - attacks)
    assert all(row["found"] + row["missed"] == attacks for row in rows.values())
    assert rows["ours"]["found"] > rows["names of tools"]["found"]
    told = report.document["confusion"]["mine.jsonl"]
    assert sum(sum(given.values()) for given in told.values()) == 60
    # Nothing of the other track, and no training of a second detector.
    assert "benign" not in report.document
    assert steps == ["60 sessions, mine.jsonl"]


def test_a_file_of_texts_is_scored_by_the_search_for_credentials(tmp_path: Path):
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "nothing here"}\n{"text": "token = x", "value": ""}\n')
    empty = tmp_path / "source"
    empty.mkdir()
    report = run(file, 7, lambda _: None, DetectionBenchConfig(benign=empty))
    assert "session_scores" not in report.document
    rows = {row["detector"]: row for row in report.document["scores"] if row["cases"] != "all"}
    assert (rows["ours"]["alarms"], rows["ours"]["quiet"]) == (0, 2)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{}\n")
    with pytest.raises(DataError, match="line 1"):
        run(bad, 7, lambda _: None, DetectionBenchConfig(benign=empty))

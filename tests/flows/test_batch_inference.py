"""The batch flow on the embedded model: dry run, run, resume, what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from models.inference.job_config import JobConfig
from models.inference.prepare import ErrorRateError
from models.settings import ROOT, get_settings

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

SHIPPED = ROOT / "datasets" / "inference" / "natural_prompts" / "natural_prompts.jsonl"


@pytest.fixture
def small(tmp_path: Path) -> JobConfig:
    """Two documents with two questions each, a copy and a bad row; a few tokens of output."""
    wanted = [json.loads(line) for line in SHIPPED.read_text().splitlines()]
    rows = [row for row in wanted if row["custom_id"][-2:] in ("01", "02")]
    rows = [row for row in rows if row["custom_id"].startswith(("alice", "moby"))]
    rows.append({**rows[0], "custom_id": "again"})
    for row in rows:
        row["body"]["max_tokens"] = 3
    rows.append({"custom_id": "bad", "url": rows[0]["url"], "body": {}})
    data = tmp_path / "in.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return JobConfig(
        data=data, output=tmp_path / "out" / "results.jsonl", max_error_rate=0.2, kv_gib=0.1
    )


def test_a_batch_is_planned_run_recorded_and_resumed(small: JobConfig):
    from flows.run_batch_inference import preview, run_batch_inference

    said = "\n".join(preview(small))
    assert "(6 rows, 1 unusable)" in said
    assert "backend: native" in said
    assert not (get_settings().home / "mlflow").exists()

    summary = run_batch_inference(small)
    assert summary.did == "ran 5 rows of in.jsonl on native; 1 failed"
    lines = [json.loads(line) for line in summary.files["results"].open()]
    assert [line["custom_id"] for line in lines][-2:] == ["again", "bad"]
    texts = [line["response"]["body"]["choices"][0]["message"]["content"] for line in lines[:5]]
    assert texts[4] == texts[0] != ""
    assert lines[5]["error"]["code"] == "missing_required_parameter"
    page = summary.files["report"].read_text(encoding="utf-8")
    assert "5 rows of in.jsonl have a result, 1 failed" in page
    assert 'src="http' not in page

    client = MlflowClient(get_settings().tracking_uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "inference"]
    (run,) = client.search_runs([experiment.experiment_id])
    metrics, params = run.data.metrics, run.data.params
    assert metrics["rows/ok"] == 5
    assert metrics["rows/failed"] == 1
    assert metrics["prefill/computed_tokens"] < metrics["prefill/logical_tokens"]
    assert metrics["prefill/saved_share"] == pytest.approx(metrics["prefill/planned_share"])
    assert 0 < metrics["kv/peak_bytes"] <= metrics["kv/budget_bytes"]
    assert len(params["plan_hash"]) == 64
    assert params["model_fingerprint"].startswith("SmolLM2")
    assert params["backend_used"] == "native"
    assert {"phase/read_s", "phase/plan_s", "phase/run_s", "phase/merge_s"} <= set(metrics)
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"plan", "steps", "errors.jsonl", "report.html", "report.json"} <= files
    (trace,) = client.list_artifacts(run.info.run_id, "steps")
    steps = pq.read_table(client.download_artifacts(run.info.run_id, trace.path))
    assert sum(steps["prefix_tokens"].to_pylist()) > 0

    again = run_batch_inference(small)
    assert "5 of them by earlier starts" in again.did
    assert [json.loads(line) for line in summary.files["results"].open()] == lines


def test_a_batch_over_its_error_rate_fails_and_says_why(small: JobConfig):
    from flows.run_batch_inference import run_batch_inference

    with pytest.raises(ErrorRateError, match="1 of 6"):
        run_batch_inference(small.model_copy(update={"max_error_rate": 0.01}))

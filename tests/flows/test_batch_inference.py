"""The batch flow on the embedded model: dry run, run, resume, what is recorded."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from models.inference.job_config import JobConfig
from models.inference.journal import Journal
from models.inference.prepare import ErrorRateError
from models.inference.tiny_job import write_tiny_job
from models.settings import ROOT, get_settings
from tests.flows.test_command_line import user_environment

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
    assert "earlier starts finished 5" in again.did
    assert [json.loads(line) for line in summary.files["results"].open()] == lines


def test_a_batch_over_its_error_rate_fails_and_says_why(small: JobConfig):
    from flows.run_batch_inference import run_batch_inference

    with pytest.raises(ErrorRateError, match="1 of 6"):
        run_batch_inference(small.model_copy(update={"max_error_rate": 0.01}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGTERM, 75, "goes on where it was"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_in_the_middle_keeps_what_is_finished_and_says_so_by_its_exit_code(
    tmp_path: Path, loom_home: Path, number: signal.Signals, code: int, words: str
):
    model, data = write_tiny_job(tmp_path, seed=1, n_rows=40, most_tokens=400)
    arguments = {
        "data": data,
        "output": tmp_path / "out.jsonl",
        "model": model,
        "dtype": "float32",
        "backend": "native",
        "kv_gib": 0.01,
        "max_rows": 4,
        "checkpoint_tokens": 16,
    }
    command = [sys.executable, "-m", "flows", "run", "run-batch-inference"]
    for name, value in arguments.items():
        command += ["--set", f"{name}={value}"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=user_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + 240
    while not list(loom_home.glob("inference/jobs/*/partials/*.segment")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == code, said
    assert "Traceback" not in said
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert words in error
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert not (tmp_path / "out.jsonl").exists()
    (folder,) = (loom_home / "inference" / "jobs").iterdir()
    n_done = len(Journal.open(folder / "journal").places)
    assert n_done < 40
    client = MlflowClient(get_settings().tracking_uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "inference"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "KILLED"
    if number == signal.SIGINT:
        return  # how it goes on is the same
    done = subprocess.run(
        command, cwd=ROOT, env=user_environment(), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert Journal.open(folder / "journal").doubles == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 40

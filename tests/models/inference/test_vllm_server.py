"""A job on a real vLLM server over HTTP; the server takes a minute to start."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.inference.batch_input import Places
from models.inference.job import run_job
from models.inference.job_config import JobConfig
from models.inference.local_model import find_model
from models.services.ports import any_port
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "inference" / "natural_prompts" / "natural_prompts.jsonl"
START_S = 300.0


@contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    """Serve a model directory until the end of the block; gives the address."""
    port = any_port()
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    # float32: quick on any processor. The `vllm serve` command of the CPU build does not start.
    command = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", "small", "--dtype", "float32"),
        *("--host", "127.0.0.1", "--port", str(port), "--block-size", "32", "--enforce-eager"),
        *("--max-model-len", "2048", "--enable-prompt-tokens-details"),
    ]
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment)
    try:
        until = time.monotonic() + START_S
        while True:
            assert server.poll() is None, log.read_text()[-3_000:]
            assert time.monotonic() < until, log.read_text()[-3_000:]
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_a_job_runs_on_a_vllm_server_and_its_cache_serves_the_shared_prefixes(tmp_path: Path):
    rows = [json.loads(line) for line in SHIPPED.read_text().splitlines()]
    rows = [row for row in rows if row["custom_id"].startswith(("alice-0", "alone"))][:8]
    for row in rows:
        row["body"]["max_tokens"] = 4
    data, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    home = tmp_path / "home"
    model = find_model("smollm2", home / "inference")
    with served(model.folder, tmp_path / "server.txt") as url:
        config = JobConfig(data=data, output=output, url=url, concurrency=4)
        report = run_job(config, Places(home, tmp_path))
    assert (report.merged.rows_ok, report.merged.rows_failed) == (len(rows), 0)
    lines = [json.loads(line) for line in output.open()]
    assert [line["custom_id"] for line in lines] == [row["custom_id"] for row in rows]
    bodies = [line["response"]["body"] for line in lines]
    assert all(1 <= body["usage"]["completion_tokens"] <= 4 for body in bodies)
    assert all(body["choices"][0]["message"]["content"] for body in bodies)
    # Blocks of 32: up to 31 shared tokens of a row are computed again.
    assert 0.5 < (report.saved_share or 0) <= (report.optimal_share or 0)

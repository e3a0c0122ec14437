"""vLLM behind the same plan; one real run in a process of its own."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from models.inference.backends.base import Work
from models.inference.backends.vllm import BLOCK, windows
from models.inference.batch_input import Places, read_batch
from models.inference.job import run_job
from models.inference.job_config import JobConfig
from models.inference.prepare import plan_batch
from models.inference.tiny_job import write_tiny_job
from models.settings import ROOT

SHIPPED = ROOT / "datasets" / "inference" / "natural_prompts" / "natural_prompts.jsonl"


def test_windows_keep_the_order_and_fit_the_budget(tmp_path: Path):
    model, data = write_tiny_job(tmp_path, 2, 40)
    config = JobConfig(data=data, model=str(model), dtype="float32")
    batch = read_batch(config, Places(tmp_path / "home", tmp_path))
    plan = plan_batch(batch, 1)
    blocks = 24
    kv_bytes = (blocks + 1) * BLOCK * batch.model.token_bytes("float32")
    work = Work(*(batch.job.prompts, batch.samplings, batch.model, config, kv_bytes, 1, tmp_path))
    found = list(windows(plan, 0, work))
    assert [p for window in found for p in window] == plan.rows.prompt.tolist()
    assert 1 < len(found) < 40
    for window in found:
        # Every row's own blocks, as if nothing were shared but whole prefixes.
        groups = {int(plan.row_groups[np.flatnonzero(plan.rows.prompt == p)[0]]) for p in window}
        own = 0
        for prompt in window:
            group = int(plan.row_groups[np.flatnonzero(plan.rows.prompt == prompt)[0]])
            private = len(batch.job.prompts[prompt]) - int(plan.groups.prefix_tokens[group])
            own += -(-(private + (batch.samplings[prompt].max_tokens or 1)) // BLOCK)
        shared = sum(int(plan.groups.prefix_tokens[g]) // BLOCK for g in groups)
        assert own + shared <= blocks


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_a_job_runs_on_vllm(tmp_path: Path):
    rows = [json.loads(line) for line in SHIPPED.read_text().splitlines()]
    rows = [row for row in rows if row["custom_id"].startswith(("alice-0", "alone"))]
    for row in rows:
        row["body"]["max_tokens"] = 4
    data, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = JobConfig(data=data, output=output, backend="vllm", kv_gib=0.2)
    report = run_job(config, Places(tmp_path / "home", tmp_path))
    assert report.merged.rows_ok == len(rows)
    assert 0 < (report.saved_share or 0) <= (report.optimal_share or 0)
    lines = [json.loads(line) for line in output.open()]
    assert [line["custom_id"] for line in lines] == [row["custom_id"] for row in rows]
    assert all(line["response"]["body"]["usage"]["completion_tokens"] <= 4 for line in lines)

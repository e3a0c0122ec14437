"""`loom bench inference` from the command line, on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.inference.tiny_job import write_tiny_model
from tests.flows.test_command_line import assert_clear_error, loom

QUICK = ("repeats=1", "planner_rows=0", "job_rows=0", "two_threads=false", "ablations=false")


def bench(model: Path, out: Path, *arguments: str | Path, keys: tuple[str, ...] = ()) -> Any:
    sets = [part for key in (*QUICK, f"model={model}", *keys) for part in ("--set", key)]
    done = loom("bench", "inference", "--json", out, *sets, *arguments, timeout_s=900)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), done.stdout


@pytest.mark.slow
def test_it_measures_generated_workloads_and_a_file_that_it_has_never_seen(tmp_path: Path):
    write_tiny_model(tmp_path / "model", 3)
    keys = ("peers=[hf]",)
    found, shown = bench(tmp_path / "model", tmp_path / "a.json", "--seed", "3", keys=keys)
    gates = {gate["name"]: gate for gate in found["gates"]}
    assert gates["rows whose float32 tokens are those of Hugging Face"]["holds"]
    assert gates["prefill saving / trie optimum, the worst contest"]["holds"]
    assert gates["KV peak / budget, the worst contest under pressure"]["holds"]
    assert {line["contest"] for line in found["lines"]} == {
        *("A", "B", "C", "D", "E", "mixed", "A/3", "B/3")
    }
    judged = {verdict["words"]: verdict for verdict in found["verdicts"]}
    assert judged["hf generate / ours"]["found"] > 0
    assert judged["vllm tuned / ours, shared"]["found"] is None  # it did not compete
    assert "ratios of CPU seconds, geometric means" in shown

    file = tmp_path / "rows.jsonl"
    file.write_text(
        "".join(
            json.dumps({"token_ids": [5, 6, 7, 8, 9, 10, 11, 12, 13 + i], "max_tokens": 3}) + "\n"
            for i in range(12)
        )
    )
    keys = ("peers=[]",)
    found, _ = bench(tmp_path / "model", tmp_path / "b.json", "--data", file, keys=keys)
    assert found["data"] == "rows.jsonl"
    assert [c["name"] for c in found["contests"]] == ["file", "file/3"]
    assert found["saving"][0]["of_optimum"] == 1.0


def test_keys_that_do_not_exist_and_files_that_are_no_workload_are_refused(tmp_path: Path):
    assert_clear_error(loom("bench", "inference", "--set", "repeat=1"), 2, "repeat", "repeats")
    assert_clear_error(loom("bench", "upgrades", "--set", "repeats=1"), 2, "takes no keys")
    file = tmp_path / "rows.jsonl"
    file.write_text("{}\n")
    done = loom("bench", "inference", "--data", file)
    assert_clear_error(done, 3, "rows.jsonl line 1 is no workload row", "token_ids")

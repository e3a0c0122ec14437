"""The flows of kernels, read back from their tracked runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.command.bench_kernels import run as run_bench
from flows.evaluate_package import evaluate_package
from flows.evaluate_package import preview as preview_evaluation
from flows.generate_kernels import generate_kernels
from flows.generate_kernels import preview as preview_campaign
from flows.refine_with_model_inputs import preview as preview_refinement
from models.errors import ConfigError, UnknownNameError
from models.kernels.bench import KernelsBenchConfig
from models.kernels.config import CampaignConfig, EvaluationConfig, RefineConfig
from models.kernels.ledger import Ledger
from models.kernels.operators import select_operators
from models.kernels.package import PackageDamagedError, read_package
from models.settings import get_settings

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]
OPS = "trunc,flip,t"
"""A pointwise kernel, a permuted copy, a view."""


def runs(parent: str | None = None) -> list[Any]:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [e.experiment_id for e in client.search_experiments() if e.name == "kernels"]
    chosen = f"tags.mlflow.parentRunId = '{parent}'" if parent else ""
    return list(client.search_runs(ids, chosen, order_by=["attributes.start_time DESC"]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("campaign")


def config(folder: Path, **fields: Any) -> CampaignConfig:
    return CampaignConfig(ops=OPS, most_per_type=2, targets=("sm90",), output=folder, **fields)


def test_a_campaign_writes_counts_packs_and_records(folder: Path):
    assert "operators: 3" in preview_campaign(config(folder))[0]
    summary = generate_kernels(config(folder))
    figures = {one.name: one.value for one in summary.figures}
    assert figures["kernel-backed"] == 2
    assert figures["metadata only"] == 1
    assert figures["tests passed"] == figures["tests in all"] > 0
    package = read_package(folder / "package")
    assert sorted(package.operators) == ["flip", "t", "trunc"]
    assert "trunc" in (folder / "coverage.html").read_text()
    whole = next(run for run in runs() if run.data.metrics.get("kernel_backed") is not None)
    assert whole.info.status == "FINISHED"
    assert whole.data.metrics["kernel_backed"] == 2
    assert whole.data.metrics["campaign/after_1"] == 3
    children = {run.info.run_name: run for run in runs(whole.info.run_id)}
    assert set(children) == {"flip", "t", "trunc"}
    assert children["t"].data.tags["status"] == "metadata"
    # Every figure again from the raw outcomes alone.
    with Ledger(folder / "ledger.sqlite") as ledger:
        found = ledger.coverage(select_operators(OPS), most_per_dtype=2)
    assert (found.headline.kernel, found.headline.metadata) == (2, 1)


def test_the_same_campaign_again_runs_no_test_again(folder: Path):
    before = _batches(folder / "ledger.sqlite")
    summary = generate_kernels(config(folder))
    assert summary.did == "wrote kernels for 2 of 3 operators"
    # The same batches, ended at the same moments.
    assert before == _batches(folder / "ledger.sqlite") != set()


@pytest.mark.parametrize("asker", ["model", "agent"])
def test_a_model_or_an_agent_mends_what_the_judges_refuse(
    folder: Path, tmp_path: Path, asker: Literal["model", "agent"]
):
    right = read_package(folder / "package").candidate("trunc").source
    wrong = right.replace("tl.ceil", "tl.floor")
    assert wrong != right
    play = tmp_path / "play.jsonl"
    answers = [f"```python\n{text}```" for text in (wrong, right)]
    play.write_text("\n".join(json.dumps({"text": text}) for text in answers))
    asked = CampaignConfig(
        ops="trunc", most_per_type=2, targets=("sm90",), output=tmp_path / "out",
        proposer="language_model", llm=f"scripted:{play}", asker=asker,
    )  # fmt: skip
    summary = generate_kernels(asked)
    figures = {one.name: one.value for one in summary.figures}
    assert (figures["kernel-backed"], figures["right at the first proposal"]) == (1, 0)
    whole = next(run for run in runs() if run.data.metrics.get("kernel_backed") is not None)
    assert whole.data.metrics["session/calls"] == 2
    assert whole.data.metrics["llm/prompt_tokens"] > whole.data.metrics["llm/completion_tokens"] > 0
    kept = list((tmp_path / "out" / "conversations").rglob("*.conversation"))
    assert bool(kept) == (asker == "agent")


def test_a_package_is_put_to_suites_that_nobody_saw(folder: Path, tmp_path: Path):
    asked = EvaluationConfig(
        package=folder / "package", ops="trunc", suites=("V1", "V2"), most_per_type=2, seed=5,
        output=tmp_path,
    )  # fmt: skip
    assert "3 modules" in preview_evaluation(asked)[0]
    summary = evaluate_package(asked)
    figures = {one.name: one.value for one in summary.figures}
    assert figures["operators that pass all of them"] == 1
    frame = pd.read_csv(tmp_path / "evaluation.csv")
    assert sorted(frame["suite"]) == ["V1", "V2"]
    assert set(frame["status"]) == {"kernel"}
    assert frame["evidence"].str.len().eq(64).all()


def test_samples_of_ones_own_are_a_suite(folder: Path, tmp_path: Path):
    tensor = {"dtype": "float32", "shape": [3, 70], "strides": [1, 3],
              "fill": {"kind": "normal", "high": 1.0, "seed": 7}}  # fmt: skip
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"op": "trunc", "dtype": "float32", "args": [{"tensor": tensor}]}))
    asked = EvaluationConfig(package=folder / "package", data=file, output=tmp_path / "out")
    summary = evaluate_package(asked)
    assert {one.name: one.value for one in summary.figures}["data: tests passed"] == 1


def test_a_damaged_package_is_refused_before_anything_runs(folder: Path, tmp_path: Path):
    import shutil

    shutil.copytree(folder / "package", tmp_path / "package")
    kernel = tmp_path / "package" / "operators" / "trunc" / "kernel.py"
    kernel.write_text(kernel.read_text() + "\n# more\n")
    with pytest.raises(PackageDamagedError, match=r"trunc/kernel\.py"):
        evaluate_package(EvaluationConfig(package=tmp_path / "package"))


def test_what_is_missing_is_told_before_anything_runs(tmp_path: Path):
    with pytest.raises(ConfigError, match="needs a model"):
        generate_kernels(config(tmp_path, proposer="cascade"))
    with pytest.raises(ConfigError, match="needs a package"):
        generate_kernels(config(tmp_path, proposer="replay"))
    with pytest.raises(UnknownNameError, match="padded33"):
        generate_kernels(config(tmp_path, profile="padded33"))
    assert preview_refinement(RefineConfig(models=("dlrm",), output=tmp_path))[0].startswith(
        "models: dlrm"
    )


@pytest.mark.slow
def test_a_killed_campaign_goes_on_and_doubles_nothing(tmp_path: Path, loom_home: Path):
    command = [
        sys.executable, "-m", "flows", "run", "generate-kernels", "--set", f"ops={OPS}",
        "--set", "most_per_type=2", "--set", "targets=sm90", "--set", f"output={tmp_path}",
    ]  # fmt: skip
    environment = {**os.environ, "LOOM_HOME": str(loom_home)}
    ledger = tmp_path / "ledger.sqlite"
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 240
    while time.monotonic() < until and not _batches(ledger):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = _batches(ledger)
    assert kept
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "wrote kernels for 2 of 3 operators" in again.stdout
    assert kept <= _batches(ledger)


def test_the_benchmark_writes_a_package_and_scores_it_on_two_pools_of_threads():
    config = KernelsBenchConfig(
        tracks=("suites", "targets"), ops="trunc", suites=("S", "V1", "V2"),
        most_per_type=2, targets=("sm90",),
    )  # fmt: skip
    report = run_bench(None, 7, lambda words: None, config)
    by_suite = {one["suite"]: one for one in report.document["suites"]}
    assert {name: one["status"] for name, one in by_suite.items()} == dict.fromkeys(
        ("S", "V1", "V2"), "kernel"
    )
    assert report.document["targets"]["portable"] == ["trunc"]


def _batches(file: Path) -> set[str]:
    if not file.is_file():
        return set()
    try:
        with Ledger(file) as ledger:
            rows = ledger._file.read("SELECT batch_id, finished_at FROM batch")
    except Exception:
        return set()
    return {f"{row['batch_id']} {row['finished_at']}" for row in rows}

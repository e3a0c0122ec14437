"""The three flows of shardings, read back from their tracked runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.calibrate_sharding import calibrate_sharding
from flows.calibrate_sharding import preview as preview_calibration
from flows.plan_sharding import plan_sharding
from flows.plan_sharding import preview as preview_plan
from flows.sweep_sharding import preview as preview_sweep
from flows.sweep_sharding import sweep_sharding
from models.errors import ConfigError, ContractError, DatasetMissingError, NotEnoughDataError
from models.settings import get_settings
from models.sharding.config import CalibrateConfig, PlanConfig, SweepConfig
from models.sharding.landscapes import FOLDER

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]
SMALL = {"model": "llama3.2-1b", "slice": "v5e:2x2", "seq_len": 2048, "global_batch": 16}


def newest() -> Any:
    client = MlflowClient(get_settings().tracking_uri)
    ids = [e.experiment_id for e in client.search_experiments() if e.name == "sharding"]
    return client.search_runs(ids, order_by=["attributes.start_time DESC"], max_results=1)[0]


def artifact(run: Any, name: str, into: Path) -> str:
    client = MlflowClient(get_settings().tracking_uri)
    return Path(client.download_artifacts(run.info.run_id, name, str(into))).read_text()


def test_a_plan_is_compiled_exported_and_recorded(tmp_path: Path):
    config = PlanConfig(**SMALL, output=tmp_path / "out", proposals=2)
    assert "model: llama3.2-1b" in preview_plan(config)[0]
    summary = plan_sharding(config)
    figures = {one.name: one for one in summary.figures}
    assert figures["proposals verified"].value == 2
    assert figures["step s"].value <= figures["step s"].baseline
    run = newest()
    assert run.info.status == "FINISHED"
    assert run.data.params["present_layout"] == "fsdp=4 micro=1 full"
    plan = json.loads(artifact(run, "plan.json", tmp_path))
    assert [one["verdict"] for one in plan["checks"]] == ["ok", "ok"]
    assert all(one["compiled"]["hlo_digest"] for one in plan["checks"])
    first = plan["plan"]["proposals"][0]
    assert run.data.metrics["proposal_1/step_s"] == pytest.approx(first["step_s"]["middle"])
    terms = [v for k, v in run.data.metrics.items() if k.startswith("proposal_1/terms/")]
    assert sum(terms) == pytest.approx(first["step_s"]["middle"])
    assert run.data.tags["hlo.1"] == plan["checks"][0]["compiled"]["hlo_digest"]
    page = artifact(run, "report.html", tmp_path)
    assert first["layout"]["text"] in page
    assert "per_device_batch_size" in artifact(run, "exports/maxtext/maxtext.yml", tmp_path)
    assert set(plan["exports"]["vllm"]) == {"refused"}

    plan_sharding(config)
    assert newest().data.metrics["verify/from_cache"] == 2


def test_a_model_that_fits_nowhere_is_an_answer_with_the_chips_it_takes(tmp_path: Path):
    config = PlanConfig(
        model="llama3.1-405b", slice="v5e:4x4", global_batch=64, output=tmp_path / "out"
    )
    summary = plan_sharding(config)
    assert summary.did.startswith("no layout for")
    run = newest()
    assert run.info.status == "FINISHED"
    assert run.data.metrics["plan/proposals"] == 0
    assert run.data.metrics["plan/minimum_chips"] >= 256
    assert "out of memory" in artifact(run, "report.html", tmp_path)


def test_the_present_layout_is_read_in_words_and_its_faults_are_told(tmp_path: Path):
    given = {**SMALL, "verify": "analytic", "export": (), "output": tmp_path / "out"}
    plan_sharding(PlanConfig(**given, present="data=2 tensor=2 micro=2 none"))
    assert newest().data.params["present_layout"] == "data=2 tensor=2 micro=2 none"
    with pytest.raises(ConfigError, match="multiply to 8"):
        plan_sharding(PlanConfig(**given, present="fsdp=8"))
    assert newest().info.status == "FAILED"
    with pytest.raises(ConfigError, match="needs a model"):
        plan_sharding(PlanConfig(**given, proposer="language_model"))


def test_a_profile_that_is_not_there_or_garbled_is_told(tmp_path: Path):
    with pytest.raises(DatasetMissingError, match="does not exist"):
        plan_sharding(PlanConfig(**SMALL, data=tmp_path / "gone.txt", verify="analytic"))
    log = tmp_path / "run.log"
    log.write_text("".join(f"completed step: {n}, seconds: 1.5\n" for n in range(20)))
    with pytest.raises(ConfigError, match="which layout it is of"):
        plan_sharding(PlanConfig(**SMALL, data=log, verify="analytic"))
    plan_sharding(
        PlanConfig(**SMALL, data=log, verify="analytic", present="fsdp=4", output=tmp_path / "out")
    )
    assert newest().data.metrics["present/step_s"] == pytest.approx(1.5)


def _few_runs(folder: Path, models: tuple[str, ...]) -> Path:
    frame = pd.read_csv(FOLDER / "measured_landscapes.csv")
    frame = frame[frame["model"].isin(models) & frame["gpus"].isin([8, 16])]
    file = folder / "runs.csv"
    frame.groupby(["model", "gpus"]).head(40).to_csv(file, index=False)
    return file


def test_a_calibration_is_worth_more_than_the_literature_on_runs_left_out(tmp_path: Path):
    names = tuple(pd.read_csv(FOLDER / "measured_landscapes.csv")["model"].unique())
    file = _few_runs(tmp_path, names)
    with pytest.raises(NotEnoughDataError, match="smallest number in the table is 8"):
        preview_calibration(CalibrateConfig(data=file, most_chips=4))
    config = CalibrateConfig(data=file, output=tmp_path / "out", most_chips=16)
    assert preview_calibration(config)[0] == "runs: runs.csv, 160"
    summary = calibrate_sharding(config)
    error = next(one for one in summary.figures if one.name == "median error of a step")
    assert error.value < error.baseline
    run = newest()
    constants = json.loads(artifact(run, "constants.json", tmp_path))
    assert run.data.metrics["constants/efficiency"] == pytest.approx(constants["efficiency"])
    page = artifact(run, "report.html", tmp_path)
    assert "each model size in turn" in page
    assert "measure next" in page
    assert "Best so far against shots" in page

    plan = PlanConfig(
        model="llama3.2-1b", slice="h100:8", global_batch=256, runs=file, verify="analytic",
        export=(), output=tmp_path / "plan",
    )  # fmt: skip
    plan_sharding(plan)
    written = json.loads((tmp_path / "plan" / "plan.json").read_text())
    assert written["constants"]["efficiency"] == pytest.approx(constants["efficiency"])


def test_runs_that_are_none_are_refused(tmp_path: Path):
    file = tmp_path / "runs.csv"
    file.write_text("model,gpus\nllama,8\n")
    with pytest.raises(ContractError, match="column"):
        calibrate_sharding(CalibrateConfig(data=file))


def test_a_sweep_answers_every_question_once(tmp_path: Path):
    config = SweepConfig(
        models=("llama3.2-1b", "no-such-model"), slices=("v5e:2x2", "v5e:3x5"), batches=(16,),
        output=tmp_path / "out",
    )  # fmt: skip
    assert preview_sweep(config)[0] == "questions: 4, verified by analytic"
    summary = sweep_sharding(config)
    frame = pd.read_csv(summary.files["table"])
    assert frame["step_s"].notna().sum() == 1
    assert frame["is_best"].sum() == 1
    why = frame[frame["step_s"].isna()]["infeasible"].tolist()
    assert sum("no-such-model" in one for one in why) == 2
    assert any("3x5" in one for one in why)
    assert "no-such-model" in summary.files["report"].read_text()
    run = newest()
    assert run.data.metrics["sweep/questions"] == 4
    assert run.data.metrics["sweep/speedup_over_trivial"] >= 1
    with pytest.raises(ConfigError, match="no questions"):
        sweep_sharding(SweepConfig(models=()))

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient

from models.errors import ContractError, DatasetUnreadableError, NotEnoughDataError
from models.figures import FlowSummary
from models.settings import get_settings
from models.upgrades import TreeConfig, UpgradeConfig
from models.upgrades.forecast.build import CANDIDATES
from tests.flows.upgrade_cases import cached_tasks

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

# Chosen so that the fit part holds 2,200 of 4,000 events; small trees, for time.
SMALL = TreeConfig(n_trees=20, depth=3)


def run_flow(config: UpgradeConfig) -> FlowSummary:
    from flows.plan_upgrades import plan_upgrades

    return plan_upgrades(config)


def tracked() -> tuple[MlflowClient, Any]:
    """Return the client and the newest flow run."""
    client = MlflowClient(get_settings().tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(
        ids, "tags.`prefect.flow_name` = 'plan-upgrades'", order_by=["attributes.start_time DESC"]
    )
    return client, found[0]


def prefect_artifacts(flow_run_id: str) -> dict[str, Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import ArtifactFilter

    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter.model_validate({"flow_run_id": {"any_": [flow_run_id]}})
        return {a.key or "": a.data for a in client.read_artifacts(artifact_filter=wanted)}


def test_a_run_is_recorded_whole_and_linked_both_ways(small_history: Path):
    config = UpgradeConfig(data=small_history, trees=SMALL, seed=3)
    summary = run_flow(config)

    client, run = tracked()
    assert run.info.status == "FINISHED"
    assert run.data.params["trees.n_trees"] == "20"
    assert run.data.params["seed"] == "3"
    assert len(run.data.tags["dataset.digest"]) == 64
    assert len(run.data.tags["lock.digest"]) == 16

    # The replayed plan accounts for every placed task.
    figures = run.data.metrics
    plan = pd.read_parquet(client.download_artifacts(run.info.run_id, "plan/plan.parquet"))
    placed = plan[plan["status"] == "assigned"]
    assert len(placed) > 0
    assert (plan.loc[plan["status"] == "refused", "reason"].str.len() > 0).all()
    outcome = pd.read_csv(client.download_artifacts(run.info.run_id, "plan/outcome.csv"))
    assert figures["plan/completed"] == (outcome["outcome"] == "completed").sum()
    assert figures["test/completed"] + figures["test/cancelled"] == figures["test/scheduled"]
    assert figures["oracle/regret"] == 0
    top = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert {"report.html", "plan", "figures.json", "benchmark.json", "data", "select"} <= top

    # One child per forecaster, for the experiment browser.
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    assert {child.info.run_name for child in children} == set(CANDIDATES)
    assert all(0 < child.data.metrics["pinball_0.9"] < 1 for child in children)

    # MLflow -> Prefect -> MLflow.
    flow_run_id = run.data.tags["prefect.flow_run_id"]
    assert summary.prefect_url == run.data.tags["prefect.flow_run_url"]
    assert flow_run_id in run.data.tags["mlflow.note.content"]
    shown = prefect_artifacts(flow_run_id)
    assert summary.mlflow_url is not None
    assert summary.mlflow_url in shown["plan-upgrades-mlflow-run"]
    assert run.info.run_id in shown["plan-upgrades-summary"]
    assert "plan-upgrades-policies" in shown
    assert "lanl-outages-contract" in shown
    assert summary.files["report"].is_file()


def test_a_second_run_of_the_same_config_takes_the_expensive_results_from_the_cache(
    small_history: Path,
):
    config = UpgradeConfig(data=small_history, trees=SMALL, seed=11)
    first = run_flow(config)
    _, before = tracked()
    second = run_flow(config)
    _, after = tracked()
    # Features, and a fit, a selection and a score of each forecaster; the oracle's score.
    # Before, only the features could be known: they do not depend on the config.
    assert cached_tasks(before.data.tags["prefect.flow_run_id"]) <= 1
    assert cached_tasks(after.data.tags["prefect.flow_run_id"]) == 2 + 3 * len(CANDIDATES)
    assert first.figures == second.figures
    keep = {k: v for k, v in before.data.metrics.items() if not k.startswith("system/")}
    assert keep == {k: v for k, v in after.data.metrics.items() if not k.startswith("system/")}


def test_two_dask_workers_give_the_same_plan_and_figures_as_threads(
    small_history: Path, monkeypatch: pytest.MonkeyPatch
):
    from flows.plan_upgrades import plan_upgrades
    from tasks.runner import task_runner

    # Cached results of the first run would make the second prove nothing.
    monkeypatch.setenv("PREFECT_TASKS_REFRESH_CACHE", "true")
    config = UpgradeConfig(
        data=small_history, trees=TreeConfig(n_trees=6, depth=2), forecaster="type-quantile", seed=5
    )
    plan_upgrades(config)
    _, threads = tracked()

    monkeypatch.setenv("LOOM_RUNNER", "dask")
    get_settings.cache_clear()
    runner = task_runner()
    assert type(runner).__name__ == "DaskTaskRunner"
    plan_upgrades.with_options(task_runner=runner)(config)
    _, dask = tracked()

    assert dask.info.run_id != threads.info.run_id
    assert dask.data.tags["plan.inputs_hash"] == threads.data.tags["plan.inputs_hash"]
    same = {k: v for k, v in threads.data.metrics.items() if not k.startswith("system/")}
    assert same == {k: v for k, v in dask.data.metrics.items() if not k.startswith("system/")}
    assert len(same) > 50


def test_a_truncated_file_fails_the_run_with_the_reason(tmp_path: Path, small_history: Path):
    broken = tmp_path / "broken.parquet"
    pd.read_csv(small_history).to_parquet(broken)
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(DatasetUnreadableError, match="may be truncated"):
        run_flow(UpgradeConfig(data=broken))
    _, run = tracked()
    assert run.info.status == "FAILED"
    assert run.data.tags["error.type"] == "DatasetUnreadableError"


def test_a_table_that_breaks_its_contract_keeps_the_validation_page(
    tmp_path: Path, small_history: Path
):
    frame = pd.read_csv(small_history)
    frame.loc[: len(frame) // 2, "down_minutes"] = -5
    broken = tmp_path / "negative.csv"
    frame.to_csv(broken, index=False)
    with pytest.raises(ContractError, match="the duration is not positive"):
        run_flow(UpgradeConfig(data=broken))
    client, run = tracked()
    assert run.info.status == "FAILED"
    page = Path(client.download_artifacts(run.info.run_id, "data/contract.html"))
    assert "<html" in page.read_text()


def test_a_history_that_is_too_short_says_how_much_is_needed(tmp_path: Path, small_history: Path):
    short = tmp_path / "short.csv"
    pd.read_csv(small_history).head(100).to_csv(short, index=False)
    with pytest.raises(NotEnoughDataError, match="too few to split"):
        run_flow(UpgradeConfig(data=short))

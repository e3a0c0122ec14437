"""Execute, monitor and backtest end to end on small data, each read back from the tracker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.logging import disable_run_logger

from models.errors import ContractError
from models.settings import get_settings
from models.upgrades import (
    Policy,
    TreeConfig,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    plan_rollout,
    split_by_time,
)
from models.upgrades.backtest import BacktestConfig
from models.upgrades.execute import ExecuteConfig
from models.upgrades.execute.audit import read_entries
from models.upgrades.history import load_history
from models.upgrades.monitor import MonitorConfig
from models.upgrades.promote import PromotionRules
from tasks.contracts import check_features, check_forecasts, check_rollout
from tasks.execute import LockLostError, RolloutHaltedError
from tasks.register import register_forecaster
from tasks.track import tracked_run
from tasks.track.artifacts import NoSuchArtifactError, fetch_artifact

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]

SMALL = UpgradeConfig(trees=TreeConfig(n_trees=5, depth=2), forecaster="type-quantile")
CHOSEN = Policy("type-quantile", "online", 0.9)


def tracked(flow: str) -> tuple[MlflowClient, Any]:
    """Return the client and the newest run of a flow."""
    client = MlflowClient(get_settings().tracking_uri)
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    order = ["attributes.start_time DESC"]
    found = client.search_runs(ids, f"tags.`prefect.flow_name` = '{flow}'", order_by=order)
    return client, found[0]


@pytest.fixture
def parts(small_history: Path) -> Any:
    config = SMALL.model_copy(update={"data": small_history})
    history = load_history(small_history, None, get_settings().datasets)
    split, features = split_by_time(history, config), asof_features(history)
    return config, history, split, features


@pytest.fixture
def planned(parts: Any) -> Path:
    """A plan on record, as plan-upgrades would leave it."""
    config, history, split, features = parts
    model = build_forecaster("body-p95", features, history, split, config)
    plan = plan_rollout(history, split, model, Policy("body-p95", "calendar", 0.95), config)
    with tracked_run("upgrades", config, tags={"prefect.flow_name": "plan-upgrades"}) as run:
        run.artifact("plan/plan.parquet", plan.frame)
    return fetch_artifact("plan-upgrades", "plan/plan.parquet", get_settings().home / "got").path


def test_execute_walks_through_the_newest_plan_and_touches_nothing(planned: Path):
    from flows.execute_upgrades import execute_upgrades, preview

    summary = execute_upgrades(ExecuteConfig())
    client, run = tracked("execute-upgrades")
    assert run.info.status == "FINISHED"
    assert run.data.tags["execute.status"] == "finished"
    placed = int((pd.read_parquet(planned)["status"] == "assigned").sum())
    assert run.data.metrics["execute/placed"] == placed > 0
    assert run.data.metrics["execute/rolled_back"] == 0
    assert "dry run" in summary.did
    top = {file.path for file in client.list_artifacts(run.info.run_id, "execute")}
    assert top == {"execute/audit.jsonl", "execute/outcome.csv", "execute/human_queue.csv"}
    assert summary.files["audit log"].is_file()
    assert any("newest finished run" in line for line in preview(ExecuteConfig()))
    named = preview(ExecuteConfig(plan=planned))
    assert any(f"{placed} placed tasks" in line for line in named)


def test_execute_simulates_the_real_durations_once_however_often_it_runs(
    planned: Path, small_history: Path
):
    from flows.execute_upgrades import execute_upgrades

    config = ExecuteConfig(
        plan=planned,
        data=small_history,
        dry_run=False,
        failure_share=0.2,
        gate_failure_share=0.9,
    )
    halt = get_settings().home / "execute" / "HALT"
    halt.parent.mkdir(parents=True, exist_ok=True)
    halt.write_text("not today")
    with pytest.raises(RolloutHaltedError, match=r"halted \(not today\): 0 completed"):
        execute_upgrades(config)
    halt.unlink()
    summary = execute_upgrades(config)
    again = execute_upgrades(config)
    assert summary.figures == again.figures
    client, run = tracked("execute-upgrades")
    outcome = pd.read_csv(client.download_artifacts(run.info.run_id, "execute/outcome.csv"))
    assert set(outcome["state"]) <= {"completed", "rolled back", "given up", "held"}
    assert outcome["reason"].str.len().min() > 0
    queue = pd.read_csv(client.download_artifacts(run.info.run_id, "execute/human_queue.csv"))
    assert len(queue) == run.data.metrics["execute/given_up"] > 0
    entries = read_entries(summary.files["audit log"])
    starts = Counter(entry["task"] for entry in entries if entry["what"] == "start")
    assert set(starts.values()) == {1}
    assert [e["what"] for e in entries if e["task"] is None] == [
        *("open", "halted", "open", "finished", "open", "finished")
    ]


def test_execute_says_what_is_missing(
    planned: Path, small_history: Path, monkeypatch: pytest.MonkeyPatch
):
    from flows.execute_upgrades import execute_upgrades

    with pytest.raises(NoSuchArtifactError, match="no run gone of plan-upgrades"):
        execute_upgrades(ExecuteConfig(plan_run="gone"))
    monkeypatch.setattr("models.upgrades.execute.guards.RolloutLock.is_held", lambda self: False)
    with pytest.raises(LockLostError, match="it goes on from the audit log"):
        execute_upgrades(ExecuteConfig(plan=planned))
    _, run = tracked("execute-upgrades")
    assert run.info.status == "FAILED"
    assert run.data.tags["execute.status"] == "lock lost"


def champion(parts: Any) -> None:
    """Register a forecaster and make it champion, whatever it shows."""
    config, history, split, features = parts
    models = {
        n: build_forecaster(n, features, history, split, config)
        for n in ("body-p95", "type-quantile")
    }
    with disable_run_logger(), tracked_run("upgrades", config) as run:
        done = register_forecaster.fn(
            *(models["type-quantile"], CHOSEN, models["body-p95"], history, features, split),
            *(config, run, PromotionRules()),
        )
    client = MlflowClient(get_settings().tracking_uri)
    client.set_registered_model_alias("upgrades-duration-small", "champion", str(done.version))


def champion_version() -> int:
    client = MlflowClient(get_settings().tracking_uri)
    return int(client.get_model_version_by_alias("upgrades-duration-small", "champion").version)


def test_monitor_judges_the_fallback_where_no_champion_is(small_history: Path):
    from flows.monitor_upgrades import monitor_upgrades, preview

    config = MonitorConfig(data=small_history, upgrades=SMALL)
    summary = monitor_upgrades(config)
    client, run = tracked("monitor-upgrades")
    assert run.info.status == "FINISHED"
    assert "fallback stands in: no champion" in run.data.tags["monitor.note"]
    assert run.data.tags["monitor.verdict"] in ("ok", "recalibrate", "retrain", "fall back")
    assert run.data.tags["monitor.verdict"] in summary.did
    files = {file.path for file in client.list_artifacts(run.info.run_id, "monitor")}
    assert {"monitor/rules.csv", "monitor/periods.csv", "monitor/drift.csv"} <= files
    assert "plotly" in summary.files["report"].read_text()
    assert any("judged: the last 3 periods" in line for line in preview(config))


def test_monitor_moves_the_champion_on_a_breach_only_if_it_may(
    parts: Any, small_history: Path, tmp_path: Path
):
    from flows.monitor_upgrades import monitor_upgrades

    champion(parts)
    before = champion_version()
    frame = pd.read_csv(small_history, parse_dates=["started", "fixed"])
    late = frame["started"] > frame["started"].quantile(0.9)
    frame.loc[late, "down_minutes"] *= 20
    frame["fixed"] = frame["started"] + pd.to_timedelta(frame["down_minutes"], "m")
    # Of the same name: later days of one history belong to one registered model.
    slow = tmp_path / "later" / "small.csv"
    slow.parent.mkdir()
    frame.to_csv(slow, index=False)
    config = MonitorConfig(data=slow, upgrades=SMALL, judged_periods=2)
    summary = monitor_upgrades(config)
    assert "fall back: coverage breach at 0.9" in summary.did
    _, run = tracked("monitor-upgrades")
    assert run.data.tags["monitor.note"] == f"champion, version {before} of upgrades-duration-small"
    assert champion_version() == before

    monitor_upgrades(config.model_copy(update={"act": True}))
    assert champion_version() != before
    client = MlflowClient(get_settings().tracking_uri)
    fallback = client.get_model_version_by_alias("upgrades-duration-small", "fallback")
    assert champion_version() == int(fallback.version)


def test_backtest_walks_forward_and_goes_on_from_the_cache(small_history: Path):
    from flows.backtest_upgrades import backtest_upgrades, preview

    config = BacktestConfig(data=small_history, upgrades=SMALL, n_origins=2, horizon_days=60)
    summary = backtest_upgrades(config)
    client, run = tracked("backtest-upgrades")
    table = pd.read_csv(client.download_artifacts(run.info.run_id, "backtest/origins.csv"))
    assert (
        table.groupby("origin")["role"].apply(list).tolist()
        == [["existing", "strong rule", "selected", "oracle"]] * 2
    )
    assert (table.loc[table["role"] == "oracle", "regret"] == 0).all()
    assert table["tasks"].groupby(table["origin"]).nunique().eq(1).all()
    children = client.search_runs(
        [run.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run.info.run_id}'"
    )
    assert {child.info.run_name for child in children} == {f"origin {o}" for o in table["origin"]}
    lines = [line for line in preview(config) if line.startswith("origin ")]
    assert len(lines) == 2

    again = backtest_upgrades(config)
    assert again.figures == summary.figures
    assert cached_tasks(tracked("backtest-upgrades")[1].data.tags["prefect.flow_run_id"]) >= 2 * 8


def cached_tasks(flow_run_id: str) -> int:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter

    with get_client(sync_client=True) as client:
        wanted = FlowRunFilter.model_validate({"id": {"any_": [flow_run_id]}})
        runs = client.read_task_runs(flow_run_filter=wanted)
    return sum(run.state_name == "Cached" for run in runs)


class Crossing:
    """A forecaster whose levels are out of order."""

    def __init__(self, spoil: Callable[[Any], Any]) -> None:
        self.name, self.digest, self._spoil = "crossing", "", spoil

    def quantiles(self, X: Any, taus: Any) -> Any:
        rising = np.tile(np.linspace(60.0, 6_000.0, len(taus)), (len(X), 1))
        return self._spoil(rising)

    def quantile(self, X: Any, tau: float) -> Any:
        return np.full(len(X), 600.0)


def test_contracts_pass_what_is_right_and_stop_what_is_not(parts: Any, planned: Path):
    config, history, split, features = parts
    model = build_forecaster("type-quantile", features, history, split, config)
    plan = plan_rollout(history, split, model, CHOSEN, config)
    rows = split.test[:200]
    with disable_run_logger(), tracked_run("upgrades", {}) as run:
        assert len(check_features.fn(history, features, run).quarantine) == 0
        good = check_forecasts.fn(model, history, features, rows, config, run)
        assert len(good.quarantine) == 0
        assert len(check_rollout.fn(plan, run).frame) == len(plan.frame)

        def one_bad(quantiles: Any) -> Any:
            quantiles[7, 3] = -1.0
            return quantiles

        found = check_forecasts.fn(Crossing(one_bad), history, features, rows, config, run)
        assert found.quarantine["row"].tolist() == [7]
        for spoil, words in (
            (lambda q: q[:, ::-1], "the quantiles cross"),
            (lambda q: q * np.nan, "least_s is empty"),
            (lambda q: -q[:, ::-1], "a quantile is not positive"),
        ):
            with pytest.raises(ContractError, match=words):
                check_forecasts.fn(Crossing(spoil), history, features, rows, config, run)

        matrix = features.matrix.copy()
        matrix[0, features.names.index("type")] = 99
        with pytest.raises(ContractError, match="a code without a label"):
            check_features.fn(history, replace(features, matrix=matrix), run)
        twice = pd.concat([plan.assignments, plan.assignments.head(1)], ignore_index=True)
        with pytest.raises(ContractError, match="more than one row"):
            check_rollout.fn(replace(plan, assignments=twice), run)
        for column, words in (
            ("start_s", "starts before its window opens"),
            ("end_s", "ends before it starts"),
        ):
            early = plan.assignments.assign(**{column: 5})
            with pytest.raises(ContractError, match=words):
                check_rollout.fn(replace(plan, assignments=early), run)
        late = plan.assignments.assign(end_s=plan.assignments["deadline_s"] + 1)
        with pytest.raises(ContractError, match="passes the latest safe instant"):
            check_rollout.fn(replace(plan, assignments=late), run)
        refusals = plan.assignments.head(1).assign(reason=" ", detail="")
        silent = replace(plan, assignments=plan.assignments.iloc[1:], refusals=refusals)
        with pytest.raises(ContractError, match="refused without a reason"):
            check_rollout.fn(silent, run)
    client = MlflowClient(get_settings().tracking_uri)
    kept = {file.path for file in client.list_artifacts(run.run_id, "contracts")}
    assert {"contracts/forecasts_quarantine.csv", "contracts/rollout_plan.html"} <= kept

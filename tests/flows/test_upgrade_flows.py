"""Monitor, backtest and contracts end to end on small data, each read back from the tracker."""

from __future__ import annotations

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
    build_forecaster,
    plan_rollout,
)
from models.upgrades.backtest import BacktestConfig
from models.upgrades.monitor import MonitorConfig
from models.upgrades.promote import PromotionRules
from tasks.contracts import check_features, check_forecasts, check_rollout
from tasks.register import register_forecaster
from tasks.track import tracked_run
from tests.flows.upgrade_cases import CHOSEN, SMALL, cached_tasks, tracked

pytestmark = [pytest.mark.flow, pytest.mark.usefixtures("prefect_server")]


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

"""A history with fitted forecasters, what registers them, and a run with a bit of everything."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from prefect.logging import disable_run_logger

from models.settings import get_settings
from models.upgrades import (
    Policy,
    UpgradeConfig,
    asof_features,
    build_forecaster,
    canonical_events,
    split_by_time,
)
from models.upgrades.promote import PromotionRules
from tasks.register import register_forecaster
from tasks.track import tracked_run
from tasks.track.registry import ModelRegistry

LANL = Path(__file__).parents[2] / "datasets/upgrades/lanl_outages/lanl_outages.parquet"
CONFIG = UpgradeConfig(trees={"n_trees": 10, "depth": 3}, conformal_window=300)
CHALLENGER = Policy("type-quantile", "online", 0.9)
# What a challenger shows is not the point here: every one of them is cheap enough.
EASY = PromotionRules(coverage_band=0.5, regression=10.0)
NAME = "upgrades-duration-lanl-outages"
RECORDED = {"window_s": 60, "costs": {"cancel": 3.0}}


@pytest.fixture(scope="session")
def parts() -> Any:
    """History, split, features and fitted forecasters by name."""
    history = canonical_events(pd.read_parquet(LANL).tail(3_000).reset_index(drop=True))
    split, features = split_by_time(history, CONFIG), asof_features(history)
    names = ("body-p95", "type-quantile", "xgb-quantile")
    models = {n: build_forecaster(n, features, history, split, CONFIG) for n in names}
    return history, split, features, models


@pytest.fixture
def config() -> UpgradeConfig:
    """Config of the bundled history with few trees."""
    return CONFIG


@pytest.fixture
def challenger() -> Policy:
    """Policy that most tests register."""
    return CHALLENGER


@pytest.fixture
def client() -> Callable[[], MlflowClient]:
    """Return the client of this test's own store."""
    return lambda: MlflowClient(get_settings().tracking_uri)


@pytest.fixture
def registry() -> ModelRegistry:
    """The registered model of the bundled history."""
    return ModelRegistry(NAME)


@pytest.fixture
def register(parts: Any) -> Callable[..., Any]:
    """Register a forecaster of `parts`, by rules that are easy to meet."""

    def call(
        own: Any = parts,
        policy: Policy = CHALLENGER,
        config: UpgradeConfig = CONFIG,
        rules: PromotionRules = EASY,
    ) -> Any:
        history, split, features, models = own
        fallback = models["body-p95"]
        with disable_run_logger(), tracked_run("upgrades", {}) as run:
            return register_forecaster.fn(
                *(models[policy.forecaster], policy, fallback, history, features, split),
                *(config, run, rules),
            )

    return call


@pytest.fixture
def champion(register: Callable[..., Any], registry: ModelRegistry) -> Any:
    """Register a forecaster and make it champion, whatever it shows."""
    done = register()
    registry.point("champion", done.version)
    return done


@pytest.fixture
def all_runs(client: Callable[[], MlflowClient]) -> Callable[[], list[Any]]:
    """Return every run of this test's own store."""

    def call() -> list[Any]:
        store = client()
        return list(store.search_runs([e.experiment_id for e in store.search_experiments()]))

    return call


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Return a port where nobody listens."""

    def call() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return call


@pytest.fixture
def unreachable(
    monkeypatch: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> Callable[[], None]:
    """Point tracking at a port where nobody listens; the result brings our own store back."""
    monkeypatch.setenv("LOOM_MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    get_settings.cache_clear()

    def mend() -> None:
        monkeypatch.delenv("LOOM_MLFLOW_TRACKING_URI")
        get_settings.cache_clear()

    return mend


@pytest.fixture
def record_everything() -> Callable[[], str]:
    """Record a run with one of each kind of thing, and return its id."""

    def call() -> str:
        with tracked_run("room", RECORDED, tags={"why": "test"}) as run:
            run.metrics({"stage/good": 1.5, "none": None, "nan": float("nan")})
            run.metrics({"loss": 0.5}, step=7)
            run.dataset("outages", "0" * 64, Path("outages.csv"))
            run.artifact("plan/plan.json", {"a": [1, 2]})
            run.artifact("table.parquet", pd.DataFrame({"x": [1, 2]}))
            with run.child("fit", {"depth": 4}) as child:
                child.metrics({"pinball": 0.25})
            return run.run_id

    return call


@pytest.fixture
def assert_everything(client: Callable[[], MlflowClient]) -> Callable[[Any, Any], None]:
    """Compare that run and its child, read back, with what was recorded."""

    def call(parent: Any, child: Any) -> None:
        assert parent.info.status == "FINISHED"
        assert parent.data.params == {"window_s": "60", "costs.cancel": "3.0"}
        figures = {k: v for k, v in parent.data.metrics.items() if not k.startswith("system/")}
        assert figures == {"stage/good": 1.5, "loss": 0.5}
        assert parent.data.tags["why"] == "test"
        assert parent.data.tags["dataset.digest"] == "0" * 64
        assert [read.dataset.name for read in parent.inputs.dataset_inputs] == ["outages"]
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (child.data.params, child.data.metrics) == ({"depth": "4"}, {"pinball": 0.25})
        history = client().get_metric_history(parent.info.run_id, "loss")
        assert [(point.step, point.value) for point in history] == [(7, 0.5)]
        fetched = Path(client().download_artifacts(parent.info.run_id, "plan/plan.json"))
        assert json.loads(fetched.read_text()) == {"a": [1, 2]}
        table = client().download_artifacts(parent.info.run_id, "table.parquet")
        assert pd.read_parquet(table)["x"].tolist() == [1, 2]

    return call

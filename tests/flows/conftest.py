"""One Prefect server for all flow tests; a small history that still has every part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from models.settings import ROOT, get_settings

LANL = ROOT / "datasets" / "upgrades" / "lanl_outages" / "lanl_outages.parquet"


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Start Prefect's own test server; heartbeats off, they cost a second per flow."""
    from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
    from prefect.testing.utilities import prefect_test_harness

    with (
        prefect_test_harness(server_startup_timeout=180),
        temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}),
    ):
        yield


@pytest.fixture
def small_history(tmp_path: Path) -> Path:
    """The last 4,000 shipped outages as CSV: another file of the documented schema."""
    file = tmp_path / "small.csv"
    pd.read_parquet(LANL).tail(4_000).to_csv(file, index=False)
    return file


@pytest.fixture
def parts(small_history: Path) -> Any:
    """Config, history, split and features of the small history."""
    from models.upgrades import asof_features, split_by_time
    from models.upgrades.history import load_history
    from tests.flows.upgrade_cases import SMALL

    config = SMALL.model_copy(update={"data": small_history})
    history = load_history(small_history, None, get_settings().datasets)
    return config, history, split_by_time(history, config), asof_features(history)


@pytest.fixture
def planned(parts: Any) -> Path:
    """A plan on record, as plan-upgrades would leave it."""
    from models.upgrades import Policy, build_forecaster, plan_rollout
    from tasks.track import tracked_run
    from tasks.track.artifacts import fetch_artifact

    config, history, split, features = parts
    model = build_forecaster("body-p95", features, history, split, config)
    plan = plan_rollout(history, split, model, Policy("body-p95", "calendar", 0.95), config)
    with tracked_run("upgrades", config, tags={"prefect.flow_name": "plan-upgrades"}) as run:
        run.artifact("plan/plan.parquet", plan.frame)
    return fetch_artifact("plan-upgrades", "plan/plan.parquet", get_settings().home / "got").path

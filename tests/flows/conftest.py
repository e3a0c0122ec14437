"""One Prefect server for all flow tests; a small history that still has every part."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from models.settings import ROOT

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

"""Every test gets a home of its own; no test may reach a live service or a user's state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports Prefect or MLflow: what the developer's shell says must not leak in.
for name in list(os.environ):
    if name.startswith(("LOOM_", "PREFECT_", "MLFLOW_")) and name != "LOOM_SCREENSHOTS":
        del os.environ[name]

# Tests that take the tracking server away should not wait for retries.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


@pytest.fixture(autouse=True)
def loom_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point the settings at a fresh folder."""
    from models.settings import get_settings

    home = tmp_path / "loom-home"
    monkeypatch.setenv("LOOM_HOME", str(home))
    get_settings.cache_clear()
    yield home
    get_settings.cache_clear()

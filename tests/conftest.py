"""Every test gets a home of its own; no test may reach a live service or a user's state."""

from __future__ import annotations

import atexit
import importlib
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before anything imports Prefect or MLflow: what the developer's shell says must not leak in,
# and nothing may be written to the checkout.
for name in list(os.environ):
    if name.startswith(("LOOM_", "PREFECT_", "MLFLOW_")) and name != "LOOM_SCREENSHOTS":
        del os.environ[name]
SESSION_HOME = tempfile.mkdtemp(prefix="loom-tests-")
atexit.register(shutil.rmtree, SESSION_HOME, ignore_errors=True)
os.environ["LOOM_HOME"] = SESSION_HOME
# One folder for all processes of a test session: the first makes it, and removes it at its end.
if "LOOMTESTS_SHARED" not in os.environ:
    os.environ["LOOMTESTS_SHARED"] = tempfile.mkdtemp(prefix="loom-tests-shared-")
    atexit.register(shutil.rmtree, os.environ["LOOMTESTS_SHARED"], ignore_errors=True)
if "CXX" not in os.environ and shutil.which("g++"):
    os.environ["CXX"] = str(Path(__file__).parent / "once" / "g++")
# No test may reach a model that costs money: network clients refuse all but this machine.
os.environ["LOOM_LLM_LIVE"] = "false"

# Ours first: they set the environment that Prefect reads when it is imported.
for module in ("flows", "tasks", "prefect.context"):
    importlib.import_module(module)

# Prefect has read its settings; the processes that tests start get an environment like a
# user's, not the one that we made for this process.
for name in list(os.environ):
    if name.startswith("PREFECT_"):
        del os.environ[name]

# A shell starts what runs in its background deaf to Ctrl-C, and so would be what tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that take the tracking server away should not wait for retries.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the files with servers start first: they take longest."""

    def is_short(item: pytest.Item) -> bool:
        return not (item.get_closest_marker("stack") or "tests/flows" in item.path.as_posix())

    items.sort(key=is_short)


@pytest.fixture(autouse=True)
def loom_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Point the settings at a fresh folder, and take back what a command run here set."""
    from models.settings import get_settings

    before = dict(os.environ)
    home = tmp_path / "loom-home"
    monkeypatch.setenv("LOOM_HOME", str(home))
    get_settings.cache_clear()
    yield home
    get_settings.cache_clear()
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.errors import ConfigError
from models.settings import ROOT, Settings, get_settings, masked


def test_a_bad_variable_is_named_with_what_was_found(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOM_PREFECT_PORT", "99999999")
    get_settings.cache_clear()
    with pytest.raises(ConfigError, match=r"LOOM_PREFECT_PORT.*99999999"):
        get_settings()


def test_telemetry_of_all_libraries_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch):
    for name in ("DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "GX_ANALYTICS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    quiet = Settings().environment()
    assert quiet["DO_NOT_TRACK"] == "true"
    assert quiet["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert quiet["GX_ANALYTICS_ENABLED"] == "false"
    assert "DO_NOT_TRACK" not in Settings(telemetry=True).environment()


def test_what_the_user_set_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PREFECT_HOME", "elsewhere")
    assert "PREFECT_HOME" not in Settings().environment()


def test_a_child_with_another_home_gets_values_of_its_own_and_keeps_the_users(tmp_path: Path):
    asked = [
        "import os, subprocess, sys",
        "from models.settings import apply_environment",
        "apply_environment()",
        "names = ('PREFECT_HOME', 'MLFLOW_HTTP_REQUEST_MAX_RETRIES')",
        "print(*(os.environ[name] for name in names))",
    ]
    child = [
        "os.environ['LOOM_HOME'] = sys.argv[1]",
        "sys.stdout.flush()",
        "subprocess.run([sys.executable, '-c', sys.argv[2]], check=True)",
    ]
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "LOOM_"))
    }
    environment = {
        **kept,
        "LOOM_HOME": str(tmp_path / "one"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7",
    }
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(asked + child), str(tmp_path / "two"), "\n".join(asked)],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    parent, own = done.stdout.splitlines()
    assert parent == f"{tmp_path / 'one' / 'prefect'} 7"
    assert own == f"{tmp_path / 'two' / 'prefect'} 7"


def test_databases_are_embedded_until_a_setting_says_otherwise(monkeypatch: pytest.MonkeyPatch):
    assert Settings().prefect_database.startswith("sqlite+aiosqlite:///")
    assert Settings().tracking_uri.startswith("sqlite:///")
    monkeypatch.setenv("LOOM_MLFLOW_DATABASE_URL", "postgresql://db/mlflow")
    monkeypatch.setenv("LOOM_PREFECT_DATABASE_URL", "postgresql+asyncpg://db/prefect")
    assert Settings().tracking_uri == "postgresql://db/mlflow"
    assert Settings().prefect_database == "postgresql+asyncpg://db/prefect"


def test_a_relative_home_is_made_absolute_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOM_HOME", "somewhere")
    assert Settings().home == Path.cwd() / "somewhere"


def test_a_home_that_cannot_hold_databases_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "file"
    file.touch()
    for bad in (file, tmp_path / "what?"):
        monkeypatch.setenv("LOOM_HOME", str(bad))
        get_settings.cache_clear()
        with pytest.raises(ConfigError, match="LOOM_HOME"):
            get_settings()


def test_passwords_of_addresses_are_masked():
    text = "tried postgresql://usr:S3CRET@db:5432/x and http://a:b@c"
    assert masked(text) == "tried postgresql://usr:***@db:5432/x and http://a:***@c"


def test_a_tracking_server_elsewhere_wins_over_our_own_store(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOOM_MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert Settings().tracking_uri == "http://tracking:5000"

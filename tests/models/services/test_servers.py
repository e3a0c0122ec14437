from pathlib import Path

import pytest

from models.services import servers
from models.settings import ROOT, Settings

SECRET = "postgresql://loom:secret@db.example/loom"


def test_the_prefect_ui_is_told_the_port_that_was_chosen(settings: Settings):
    command = servers.prefect_server(settings, 4321)
    assert command.environment["PREFECT_UI_API_URL"] == "http://127.0.0.1:4321/api"
    assert command.environment["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    assert command.url == "http://127.0.0.1:4321"


def test_an_exported_api_address_does_not_lead_our_own_server_astray(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere:4200/api")
    command = servers.prefect_server(settings, 4321)
    assert command.environment["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"


def test_a_server_on_all_addresses_is_reached_over_loopback(settings: Settings):
    command = servers.prefect_server(settings.model_copy(update={"host": "0.0.0.0"}), 4321)
    assert command.argv[-3:] == ("0.0.0.0", "--port", "4321")
    assert command.url == "http://127.0.0.1:4321"


def test_a_temporary_server_plans_nothing_but_records_task_runs(settings: Settings):
    temporary = servers.prefect_server(settings, 4321, temporary=True).environment
    assert temporary["PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED"] == "false"
    assert "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_ENABLED" not in temporary
    lasting = servers.prefect_server(settings, 4321).environment
    assert "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED" not in lasting


def test_a_temporary_server_uses_the_database_of_the_lasting_one(settings: Settings):
    name = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
    both = [servers.prefect_server(settings, 1, temporary=kind).environment for kind in (0, 1)]
    assert both[0][name] == both[1][name] == settings.prefect_database


def test_a_database_password_is_never_on_a_command_line(tmp_path: Path):
    settings = Settings(
        _env_file=None,
        home=tmp_path,
        mlflow_database_url=SECRET,
        prefect_database_url=SECRET.replace("postgresql", "postgresql+asyncpg"),
    )
    mlflow, prefect = servers.mlflow_server(settings, 5000), servers.prefect_server(settings, 4200)
    assert mlflow.environment["MLFLOW_BACKEND_STORE_URI"] == SECRET
    for command in (mlflow, prefect):
        assert "secret" not in " ".join(command.argv)
        assert "secret" not in repr(command)


def test_an_artifact_store_elsewhere_reaches_the_mlflow_server(tmp_path: Path):
    settings = Settings(_env_file=None, home=tmp_path, mlflow_artifacts="s3://bucket/prefix")
    environment = servers.mlflow_server(settings, 5000).environment
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://bucket/prefix"
    assert environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == "s3://bucket/prefix"


def test_flows_of_the_worker_see_our_settings_and_link_to_the_chosen_ports(tmp_path: Path):
    settings = Settings(_env_file=None, home=tmp_path, work_pool="gpu")
    command = servers.worker(settings, "http://127.0.0.1:4321/api", "http://127.0.0.1:5432")
    assert command.environment["LOOM_HOME"] == str(tmp_path)
    assert command.environment["LOOM_MLFLOW_UI_URL"] == "http://127.0.0.1:5432"
    assert command.environment["LOOM_PREFECT_UI_URL"] == "http://127.0.0.1:4321"
    assert command.environment["MLFLOW_TRACKING_URI"] == settings.tracking_uri
    assert command.environment["PYTHONPATH"].startswith(str(ROOT))
    assert command.argv[command.argv.index("--pool") + 1] == "gpu"


def test_loopback_stays_out_of_a_proxy(settings: Settings, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    assert servers.environment(settings)["NO_PROXY"] == "example.org,127.0.0.1,localhost"

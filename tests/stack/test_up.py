"""`loom up` with real servers: one start for the module, ended by its Ctrl-C test."""

import signal
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from models.services.orchestrator import overview
from models.services.process import ManagedProcess
from models.services.servers import deployment
from models.services.temporary import prefect_api
from models.services.web import answers, ask
from models.settings import ROOT

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1_800)]
START_S = 300.0

FLOWS = """
import os, time
from prefect import flow

@flow
def tick():
    return os.environ["LOOM_HOME"]

@flow
def linger():
    time.sleep(1000)
"""
DEPLOYMENTS = """
name: tiny
deployments:
- name: tick
  entrypoint: tiny_flows.py:tick
  work_pool: {name: loom}
  schedules:
  - interval: 10
- name: linger
  entrypoint: tiny_flows.py:linger
  work_pool: {name: loom}
"""
# What a flow does without `loom up`: write to the database, artifacts to a plain path.
WRITE_DIRECTLY = """
import sys
from mlflow import MlflowClient
uri, place = sys.argv[1:]
client = MlflowClient(uri)
experiment = client.create_experiment("direct", artifact_location=place)
run = client.create_run(experiment)
client.log_metric(run.info.run_id, "coverage", 0.9)
client.log_text(run.info.run_id, "a plan", "reports/plan.txt")
print(run.info.run_id)
"""

Wait = Callable[[Callable[[], object], str], None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "tiny_flows.py").write_text(FLOWS)
    (folder / "prefect.yaml").write_text(DEPLOYMENTS)
    return folder


@pytest.fixture(scope="module")
def stack(start_stack: Callable[[Path], Any], project: Path) -> Any:
    return start_stack(project)


def flow_runs(api_url: str, deployment: str, state: str) -> list[dict[str, Any]]:
    wanted = {
        "deployments": {"name": {"any_": [deployment]}},
        "flow_runs": {"state": {"type": {"any_": [state]}}},
    }
    found: list[dict[str, Any]] = ask(f"{api_url}/flow_runs/filter", wanted)
    return found


def test_both_servers_answer_on_the_ports_that_the_page_names(stack: Any, wait_for: Wait):
    export = f"export PREFECT_API_URL={stack.api_url}\n"
    wait_for(lambda: export in stack.output.read_text(), "the page says that all is ready")
    for url in (stack.state.prefect_url, stack.mlflow_url):
        assert url in stack.output.read_text()
        assert answers(url)


def test_the_prefect_ui_calls_the_api_of_its_own_port(stack: Any):
    shown = ask(f"{stack.state.prefect_url}/ui-settings")
    assert shown["api_url"] == stack.api_url


def test_everything_in_prefect_yaml_is_deployed_to_our_work_pool(stack: Any):
    seen = overview(stack.api_url)
    assert seen is not None
    assert seen.deployments == 2
    assert ask(f"{stack.api_url}/work_pools/loom")["type"] == "process"


def test_a_run_that_the_scheduler_planned_completes(stack: Any, wait_for: Wait):
    # With SQLAlchemy 2.1 Prefect never plans one, and no page shows that.
    wait_for(lambda: flow_runs(stack.api_url, "tick", "COMPLETED"), "a scheduled run completes")
    run = flow_runs(stack.api_url, "tick", "COMPLETED")[0]
    assert run["auto_scheduled"] is True
    seen = overview(stack.api_url)
    assert seen is not None
    assert [one.deployment for one in seen.next_runs] == ["tick/tick"]


def test_a_run_written_to_the_database_directly_is_served_with_its_artifacts(stack: Any):
    settings = stack.home.settings
    place = f"{settings.artifact_root}/direct"
    done = stack.home.run("-c", WRITE_DIRECTLY, settings.tracking_uri, place)
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[-1]
    run = ask(f"{stack.mlflow_url}/api/2.0/mlflow/runs/get?run_id={run_id}")["run"]
    assert run["data"]["metrics"][0]["value"] == 0.9
    listed = f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}&path=reports"
    assert ask(stack.mlflow_url + listed)["files"][0]["path"] == "reports/plan.txt"
    assert answers(f"{stack.mlflow_url}/get-artifact?path=reports/plan.txt&run_uuid={run_id}")


def test_a_command_that_needs_an_api_gets_the_stacks(stack: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_api(stack.home.settings) as url:
        assert url == stack.api_url


def test_a_second_up_fails_with_the_addresses_of_the_first(stack: Any):
    done = stack.home.run("-m", "flows", "up")
    assert done.returncode == 4
    assert stack.state.prefect_url in done.stderr
    assert "Traceback" not in done.stderr


def test_the_deployments_of_this_project_are_accepted(stack: Any):
    entries = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    before = overview(stack.api_url)
    command = deployment(stack.home.settings, stack.api_url, stack.mlflow_url)
    process = ManagedProcess(command)
    assert process.wait(START_S) == 0, process.last_words(40)
    after = overview(stack.api_url)
    assert before is not None
    assert after is not None
    assert after.deployments == before.deployments + len(entries)


def test_ctrl_c_ends_every_process_and_marks_the_run_in_progress(stack: Any, wait_for: Wait):
    api_url = stack.api_url
    linger = ask(f"{api_url}/deployments/name/linger/linger")["id"]
    ask(f"{api_url}/deployments/{linger}/create_flow_run", {"state": {"type": "SCHEDULED"}})
    wait_for(lambda: flow_runs(api_url, "linger", "RUNNING"), "the long run runs")
    stack.process.send_signal(signal.SIGINT)
    assert stack.process.wait(180) == 0
    assert stack.home.processes() == []
    assert not stack.home.settings.state_file.exists()
    with sqlite3.connect(stack.home.settings.prefect_home / "prefect.db") as database:
        rows = database.execute(
            "SELECT r.state_type FROM flow_run r JOIN flow f ON r.flow_id = f.id"
            " WHERE f.name = 'linger'"
        )
        assert rows.fetchall() == [("CRASHED",)]


def test_a_server_for_one_command_shows_what_the_stack_recorded(
    home: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with prefect_api(home.settings) as url:
        assert answers(f"{url}/health")
        assert flow_runs(url, "tick", "COMPLETED")
    assert home.processes() == []


def test_a_stack_in_the_background_goes_on_until_down(stack: Any):
    home = stack.home
    if stack.process.poll() is None:  # this test alone was asked for
        stack.process.send_signal(signal.SIGINT)
        stack.process.wait(180)
    up = home.run("-m", "flows", "up", "--detach", "--no-worker", "--no-deploy")
    assert up.returncode == 0, up.stderr
    api_url = stack.api_url
    assert f"export PREFECT_API_URL={api_url}" in up.stdout
    assert answers(f"{api_url}/health")
    down = home.run("-m", "flows", "down")
    assert down.returncode == 0, down.stderr
    assert home.processes() == []
    assert not home.settings.state_file.exists()


@pytest.mark.parametrize("how", [[], ["--detach"]], ids=["foreground", "background"])
def test_an_explicit_port_that_is_held_is_one_clear_message(home: Any, how: list[str]):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = home.run("-m", "flows", "up", "--mlflow-port", port, *how)
    assert done.returncode == 4
    assert done.stderr.startswith(f"error: --mlflow-port {port}: the port is held by")
    assert "Traceback" not in done.stderr
    assert home.processes() == []

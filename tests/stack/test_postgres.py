"""The same servers on a real PostgreSQL server that the test starts."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.services.bringup import Wanted, bring_up
from models.services.host import find_postgres
from models.services.ports import any_port
from models.services.stack import Stack
from models.services.web import answers, ask

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1_800)]

RUN_A_FLOW = """
import sys
from mlflow import MlflowClient
from prefect import flow, task

@task
def measure():
    return 0.9

@flow(name="on-postgres")
def on_postgres(uri, place):
    client = MlflowClient(uri)
    run = client.create_run(client.create_experiment("on-postgres", artifact_location=place))
    client.log_metric(run.info.run_id, "coverage", measure())
    client.log_text(run.info.run_id, "a plan", "plan.txt")
    client.set_terminated(run.info.run_id)
    return run.info.run_id

print(on_postgres(*sys.argv[1:]))
"""


class Postgres:
    """A PostgreSQL server in a folder of its own, on loopback, gone afterwards."""

    def __init__(self, programs: Path, user: str | None) -> None:
        self.programs, self.port = programs, any_port()
        # Not in pytest's folder: that is closed to the user that the server runs as.
        self.folder = Path(tempfile.mkdtemp(prefix="loom-postgres-"))
        self._as: dict[str, Any] = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def run(self, program: str, *argv: str) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        done = subprocess.run(
            [str(self.programs / program), *argv],
            cwd=self.folder,
            # The server goes on and would hold a pipe open.
            stdout=(self.folder / "output").open("ab") if not self._as else subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=300,
            **self._as,
        )
        log = self.folder / "log"
        said = log.read_text() if log.exists() else ""
        assert done.returncode == 0, f"{program} failed:\n{said}"

    def start(self) -> None:
        """Make the cluster, start the server, create both databases."""
        data, secret = str(self.folder / "data"), self.folder / "password"
        secret.write_text("secret\n")
        secret.chmod(0o644)
        self.run(
            "initdb",
            *("--pgdata", data, "--username", "loom", "--pwfile", str(secret)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        )
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        log = str(self.folder / "log")
        self.run("pg_ctl", "-D", data, "-o", options, "-l", log, "-w", "-t", "240", "start")
        for name in ("prefect", "mlflow"):
            self.query("postgres", f"CREATE DATABASE {name}")

    def stop(self) -> None:
        """End the server and forget its data."""
        data = str(self.folder / "data")
        try:
            self.run("pg_ctl", "-D", data, "-m", "immediate", "-w", "-t", "120", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str, driver: str = "") -> str:
        """Return the SQLAlchemy address of a database."""
        return f"postgresql{driver}://loom:secret@127.0.0.1:{self.port}/{database}"

    def query(self, database: str, sql: str) -> list[tuple[Any, ...]]:
        """Ask the database itself."""
        import psycopg2

        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    programs = find_postgres()
    if programs is None:
        pytest.skip("PostgreSQL's initdb and pg_ctl are not here; apt-get install postgresql")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("running as root, and there is no user `postgres` to run the server as")
    server = Postgres(programs, user)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def stack(home: Any, postgres: Postgres) -> Iterator[Stack]:
    home.environment["LOOM_PREFECT_DATABASE_URL"] = postgres.url("prefect", "+asyncpg")
    home.environment["LOOM_MLFLOW_DATABASE_URL"] = postgres.url("mlflow")
    with Stack(home.settings) as stack:
        bring_up(stack, Wanted(worker=False, deployments=False), lambda line: None)
        yield stack


@pytest.fixture(scope="module")
def run_id(home: Any, stack: Stack) -> str:
    """Run a flow that tracks itself, and return the id of its MLflow run."""
    home.environment["PREFECT_API_URL"] = str(stack.state.prefect_api_url)
    place = f"{stack.settings.artifact_root}/on-postgres"
    done = home.run("-c", RUN_A_FLOW, stack.settings.tracking_uri, place)
    assert done.returncode == 0, done.stderr
    return str(done.stdout.split()[-1])


def test_prefect_records_a_flow_run_in_postgres_and_serves_it(
    stack: Stack, postgres: Postgres, run_id: str
):
    wanted = {"flows": {"name": {"any_": ["on-postgres"]}}}
    (run,) = ask(f"{stack.state.prefect_api_url}/flow_runs/filter", wanted)
    assert run["state_type"] == "COMPLETED"
    stored = postgres.query("prefect", "SELECT id::text, state_type::text FROM flow_run")
    assert stored == [(run["id"], "COMPLETED")]


def test_prefect_records_task_runs_in_postgres(
    postgres: Postgres, run_id: str, wait_for: Callable[[Callable[[], object], str], None]
):
    # Task runs come by way of events, a moment after the flow run.
    count = "SELECT count(*) FROM task_run WHERE state_type = 'COMPLETED'"
    wait_for(lambda: postgres.query("prefect", count) == [(1,)], "the task run is recorded")


def test_mlflow_records_a_run_in_postgres_and_serves_it_with_its_artifact(
    stack: Stack, postgres: Postgres, run_id: str
):
    server = stack.state.mlflow_url
    run = ask(f"{server}/api/2.0/mlflow/runs/get?run_id={run_id}")["run"]
    assert run["info"]["status"] == "FINISHED"
    assert run["data"]["metrics"][0]["key"] == "coverage"
    assert answers(f"{server}/get-artifact?path=plan.txt&run_uuid={run_id}")
    stored = postgres.query("mlflow", "SELECT run_uuid, value FROM metrics")
    assert stored == [(run_id, 0.9)]


def test_no_database_of_the_embedded_kind_was_made(home: Any, run_id: str):
    assert list(home.folder.rglob("*.db")) == []


def test_the_password_is_in_no_command_line(stack: Stack, home: Any):
    for process in home.processes():
        assert "secret" not in " ".join(process.cmdline())

import json
import os
import socket
from importlib import metadata
from pathlib import Path

import pytest
import typer

from models.services import abilities, host
from models.services.abilities import Finding
from models.services.identity import ProcessId
from models.services.state import StackState
from models.settings import Settings


def named(findings: list[Finding], what: str) -> Finding:
    return next(finding for finding in findings if finding.what == what)


def test_installed_packages_are_compared_with_the_lock(tmp_path: Path):
    lock = tmp_path / "lock.txt"
    version = metadata.version("mlflow")
    lock.write_text(f"# why\nmlflow=={version}\nSQLAlchemy==1.4.0  # old\ndask[array]==1\n")
    findings = host.packages(host.read_pins(lock))
    assert named(findings, "mlflow").state == "ok"
    assert named(findings, "sqlalchemy").state == "broken"
    assert "tested with 1.4.0" in named(findings, "sqlalchemy").advice
    assert named(findings, "dask").state == "broken"


def test_another_build_of_the_same_version_is_in_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.13.0+cpu")
    assert named(host.packages({"torch": "2.13.0"}), "torch").state == "ok"


def test_without_a_lock_any_installed_version_is_in_order(tmp_path: Path):
    assert host.read_pins(tmp_path / "lock.txt") == {}
    assert named(host.packages({}), "mlflow").state == "ok"


def test_only_a_missing_required_package_makes_the_machine_unfit(
    monkeypatch: pytest.MonkeyPatch,
):
    def nothing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    findings = host.packages({})
    assert {finding.state for finding in findings} == {"missing"}
    assert not host.is_healthy([named(findings, "prefect")])
    assert host.is_healthy([named(findings, "vllm")])


def test_a_tool_that_fails_is_broken_and_one_that_is_absent_is_missing(tmp_path: Path):
    assert abilities.tool("x", "x", ["no-such-tool-anywhere"], "get it").state == "missing"
    assert abilities.tool("x", "x", ["false"], "mend it").state == "broken"
    assert abilities.tool("x", "x", ["echo", "1.2"], "") == Finding("x", "x", "1.2", "ok")


def test_a_home_that_cannot_be_written_is_broken_and_required(tmp_path: Path):
    (tmp_path / "file").write_text("")
    settings = Settings(_env_file=None, home=tmp_path / "file" / "home")
    home = host.room(settings)[0]
    assert (home.state, home.required) == ("broken", True)
    assert "LOOM_HOME" in home.advice


def test_debians_newest_postgres_is_found_without_being_on_the_path():
    found = host.find_postgres()
    if found is None:
        pytest.skip("no PostgreSQL server programs on this machine")
    assert (found / "pg_ctl").exists()


def test_a_held_port_is_named_and_no_reason_to_fail(settings: Settings):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        findings = host.stack(settings.model_copy(update={"prefect_port": port}))
    finding = named(findings, f"port {port} (prefect)")
    assert finding.state == "missing"
    assert f"process {os.getpid()}" in finding.found
    assert host.is_healthy(findings)


def test_a_port_held_by_our_own_stack_is_in_order(settings: Settings):
    me = ProcessId.of(os.getpid())
    state = StackState(me, "2026-01-01", True, prefect_url="http://127.0.0.1:4200")
    state.write(settings.state_file)
    findings = host.stack(settings)
    assert named(findings, "port 4200 (prefect)").found == "held by our stack"
    assert "http://127.0.0.1:4200" in named(findings, "loom up").found


def test_a_stale_state_and_spooled_runs_are_pointed_out(settings: Settings):
    StackState(ProcessId(os.getpid(), "1"), "2026-01-01").write(settings.state_file)
    (settings.spool / "run-1").mkdir(parents=True)
    (settings.spool / "run-1" / "calls.jsonl").write_text("{}\n")
    findings = host.stack(settings)
    assert named(findings, "loom up").state == "broken"
    assert named(findings, "spooled runs").found.startswith("1 ")
    assert "loom sync" in named(findings, "spooled runs").advice


def test_the_command_prints_json_and_fails_only_for_required_parts(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from flows.command import doctor

    monkeypatch.setattr(doctor, "get_settings", lambda: settings)
    unfit = Finding("packages", "prefect", "not installed", "missing", "make venv", True)
    monkeypatch.setattr(host, "examine", lambda settings: [unfit])
    with pytest.raises(typer.Exit) as stopped:
        doctor.doctor(json=True)
    assert stopped.value.exit_code == 1
    assert json.loads(capsys.readouterr().out)[0]["what"] == "prefect"


def test_the_table_shows_every_finding_of_this_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    from flows.command import doctor

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(doctor, "get_settings", lambda: settings)
    monkeypatch.setattr(host, "is_healthy", lambda findings: True)
    doctor.doctor()
    shown = capsys.readouterr().out
    for what in ("sqlalchemy", "gcc", "Landlock", "GPU", "PostgreSQL server", "loom up"):
        assert what in shown

"""`loom generate-fleet`: what it says, and what it refuses."""

from pathlib import Path

import pytest

from flows.command.fleet import run_generator
from models.errors import ConfigError, UnknownNameError


def test_the_command_writes_a_fleet_and_sums_it_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run_generator(tmp_path / "fleet", 200, 30, 5, None)
    said = capsys.readouterr().out
    assert "fleet of 200 hosts in 8 domains, 12 services" in said
    assert "backlog: 300 tasks" in said
    assert "8 files" in said
    assert len(list((tmp_path / "fleet").iterdir())) == 8
    # A generated folder may be generated again.
    run_generator(tmp_path / "fleet", 200, 30, 6, None)


def test_options_win_over_the_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "fleet.yaml"
    file.write_text("{hosts: 5000, domains: 2, backlog_per_host: 0.5}")
    run_generator(tmp_path / "fleet", 100, 20, None, file)
    said = capsys.readouterr().out
    assert "100 hosts in 2 domains" in said
    assert "backlog: 50 tasks" in said


def test_what_cannot_be_generated_is_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"'hosts'.*greater than or equal to 1, got 0"):
        run_generator(tmp_path / "fleet", 0, None, None, None)
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        run_generator(tmp_path / "taken", 200, 30, None, None)
    file = tmp_path / "fleet.yaml"
    file.write_text("straggler: 0.1")
    with pytest.raises(UnknownNameError, match="did you mean 'straggler_share'"):
        run_generator(tmp_path / "fleet", None, None, None, file)
    assert not (tmp_path / "fleet").exists()

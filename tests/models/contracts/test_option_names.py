"""Messages about files and values name the option that the user really has."""

from pathlib import Path

import pytest

from flows.command.fleet import run_generator
from models.config import load_config
from models.contracts import read_contract
from models.errors import ConfigError
from models.upgrades import UpgradeConfig


def test_an_option_of_its_own_is_named_and_set_only_where_it_was_used(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"^--hosts: 'hosts'.*got 0"):
        run_generator(tmp_path / "fleet", 0, None, None, None)
    with pytest.raises(ConfigError, match=r"^--hosts, --days: "):
        # More domains than hosts: a fault of several keys together.
        run_generator(tmp_path / "fleet", 1, 30, None, None)
    with pytest.raises(ConfigError, match=r"^--set: 'window_s'.*got -1"):
        load_config(UpgradeConfig, None, ["window_s=-1"])


def test_a_fault_of_the_file_is_not_blamed_on_an_option(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("{window_s: -1, seed: 1}")
    with pytest.raises(ConfigError) as caught:
        load_config(UpgradeConfig, file, ["seed=-5"])
    said = str(caught.value)
    assert f"{file}: 'window_s'" in said
    assert "--set: 'seed'" in said


def test_a_missing_config_file_names_its_option(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config file .* does not exist.*given with --config"):
        load_config(UpgradeConfig, tmp_path / "absent.yaml")
    (tmp_path / "contract.yaml").write_text("name: x\nfile: x.csv\ncolumns: 3")
    with pytest.raises(ConfigError, match=r"contract.yaml: 'columns'"):
        read_contract(tmp_path)

"""Messages about files and values name the option that the user really has."""

from pathlib import Path

import pytest

from flows.command.fleet import run_generator
from models.config import load_config
from models.contracts import read_contract
from models.errors import ConfigError
from models.upgrades import UpgradeConfig
from models.upgrades.rollout.flow_config import FleetPlanConfig


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


@pytest.mark.parametrize(
    "overrides", [["horizon_days=3"], ["rollout.horizon_days=3"], ["rollout.horizon_days=3"] * 2]
)
def test_a_key_that_two_groups_share_has_one_value_wherever_it_is_set(overrides: list[str]):
    config = load_config(FleetPlanConfig, None, overrides)
    printed = config.model_dump()
    assert (printed["horizon_days"], printed["rollout"]["horizon_days"]) == (3, 3)
    assert config.for_rollout().horizon_days == 3
    # What was recorded, whole, is the same config again.
    assert FleetPlanConfig.model_validate(printed) == config


def test_costs_and_seed_are_shared_as_well():
    config = load_config(FleetPlanConfig, None, ["costs.cancel_cost=5", "rollout.seed=9"])
    assert (config.rollout.costs.cancel_cost, config.seed) == (5, 9)


@pytest.mark.parametrize("value", [3, 7])
def test_two_values_of_a_shared_key_are_refused_with_both_names(value: int):
    overrides = ["horizon_days=14", f"rollout.horizon_days={value}"]
    with pytest.raises(ConfigError) as caught:
        load_config(FleetPlanConfig, None, overrides)
    assert f"horizon_days is 14 and rollout.horizon_days is {value}" in str(caught.value)


def test_a_horizon_that_no_rollout_has_is_refused_by_its_own_name():
    with pytest.raises(ConfigError, match=r"^--set: 'horizon_days'.*366, got 400"):
        load_config(FleetPlanConfig, None, ["horizon_days=400"])

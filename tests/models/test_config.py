from pathlib import Path

import pytest
from pydantic import Field

from models.config import Config, InstantS, Texts, key_paths, load_config
from models.errors import ConfigError, UnknownNameError


class Costs(Config):
    cancel: float = Field(3.0, gt=0)


class Example(Config):
    window_s: int = Field(28_800, gt=0)
    seed: int = 0
    costs: Costs = Costs()
    plan_s: InstantS | None = None
    exclude: Texts = ()
    shares: tuple[float, ...] = ()


def test_defaults_hold_without_a_file():
    assert load_config(Example) == Example()


def test_overrides_reach_nested_keys_and_the_last_one_wins(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ncosts: {cancel: 5}\n")
    config = load_config(Example, file, ["seed=2", "seed=3", "costs.cancel=7.5"])
    assert (config.seed, config.costs.cancel, config.window_s) == (3, 7.5, 28_800)


def test_a_missing_file_names_the_path_and_the_way_out(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.yaml does not exist; check the path"):
        load_config(Example, tmp_path / "absent.yaml")


def test_an_unreadable_file_says_what_it_must_be(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ConfigError, match="must be a UTF-8 YAML file"):
        load_config(Example, file)


def test_broken_yaml_is_located(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("seed: 1\ncosts: [1,\n")
    with pytest.raises(ConfigError, match="not valid YAML at line 3"):
        load_config(Example, file)


def test_a_list_is_no_config(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_text("- 1\n- 2\n")
    with pytest.raises(ConfigError, match="must be a mapping of keys to values, found a list"):
        load_config(Example, file)


@pytest.mark.parametrize(
    ("override", "nearest"), [("windows_s=1", "window_s"), ("costs.cancle=1", "cancel")]
)
def test_an_unknown_key_names_the_nearest(override: str, nearest: str):
    with pytest.raises(UnknownNameError, match=f"did you mean '{nearest}'"):
        load_config(Example, None, [override])


def test_a_wrong_type_shows_what_was_found():
    with pytest.raises(ConfigError, match=r"'seed': input should be a valid integer.*got 'many'"):
        load_config(Example, None, ["seed=many"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("8h", "28800"), ("90 min", "5400"), ("2d", "172800")]
)
def test_a_unit_where_seconds_are_wanted_is_converted_in_the_message(text: str, seconds: str):
    with pytest.raises(ConfigError, match=f"this key is in seconds: write {seconds}"):
        load_config(Example, None, [f"window_s={text}"])


def test_an_override_without_a_value_teaches_its_form():
    with pytest.raises(ConfigError, match="--set takes key=value, got 'seed'"):
        load_config(Example, None, ["seed"])


def test_a_value_cannot_become_a_group():
    with pytest.raises(ConfigError, match="'seed' holds a value, not a group"):
        load_config(Example, None, ["seed=1", "seed.deep=2"])


def test_keys_are_listed_with_those_of_their_groups():
    assert list(key_paths(Example)) == [
        *("window_s", "seed", "costs", "costs.cancel", "plan_s", "exclude", "shares"),
    ]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("cancel", "'costs.cancel'"),
        ("cancle", "'costs.cancel'"),
        ("costs.window_s", "'window_s'"),
        ("window", "'window_s'"),
    ],
)
def test_a_key_of_another_group_is_found(key: str, meant: str):
    with pytest.raises(UnknownNameError, match=rf"'{key}'; did you mean {meant}\?"):
        load_config(Example, None, [f"{key}=1"])


def test_a_key_that_is_like_none_gets_no_guess():
    with pytest.raises(UnknownNameError, match=r"'zzz'; known: costs, exclude, plan_s"):
        load_config(Example, None, ["zzz=1"])


@pytest.mark.parametrize(
    "text",
    ["2025-07-01", "2025-07-01T00:00", "2025-07-01 00:00:00", "'2025-07-01'", "1751328000"],
)
def test_an_instant_may_be_a_date_a_time_or_seconds(text: str):
    # date -u -d 2025-07-01 +%s
    assert load_config(Example, None, [f"plan_s={text}"]).plan_s == 1_751_328_000


@pytest.mark.parametrize("text", ["2025-07-01T00:00:00Z", "2025-07-01T00:00:00.5"])
def test_an_instant_with_a_zone_or_fractions_is_refused(text: str):
    with pytest.raises(ConfigError, match="'plan_s': write a time without zone and in whole"):
        load_config(Example, None, [f"plan_s={text}"])


@pytest.mark.parametrize(
    ("text", "values"),
    [("db-*", ("db-*",)), ("*-db", ("*-db",)), ("a, b", ("a", "b")), ("[a, b]", ("a", "b"))],
)
def test_one_text_is_a_list_of_one(text: str, values: tuple[str, ...]):
    assert load_config(Example, None, [f"exclude={text}"]).exclude == values


def test_a_broken_list_is_no_text():
    with pytest.raises(ConfigError, match="no valid YAML; quote what stands in it"):
        load_config(Example, None, ["exclude=[*-db]"])


def test_one_number_where_several_belong_teaches_the_list():
    with pytest.raises(ConfigError, match=r"'shares'.*write shares=\[0.5\]"):
        load_config(Example, None, ["shares=0.5"])

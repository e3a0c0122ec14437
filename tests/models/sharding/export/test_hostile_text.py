"""Files of somebody else that are small and cost much, or hold values that are none."""

import time

import pytest
import yaml

from models.errors import ConfigError
from models.sharding.export.registry import read_layout
from models.sharding.export.text import load_yaml, shown
from tests.models.sharding.export.jobs import JOBS

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
FSDP = "ici_fsdp_parallelism: 256\n"
BATCH = FSDP + "per_device_batch_size: "


@pytest.mark.parametrize(
    ("target", "text", "said"),
    [
        ("maxtext", BOMB + "ici_fsdp_parallelism: *j\n", "by an alias"),
        ("vllm", BOMB + "tensor-parallel-size: *j\n", "by an alias"),
        ("megatron", BOMB + "model:\n  tensor_model_parallel_size: *j\n", "by an alias"),
        ("maxtext", BATCH + ".inf", "no number of sequences"),
        ("maxtext", BATCH + "1.0e+300", "no number of sequences"),
        ("maxtext", BATCH + "9" * 5000, "cannot be read"),
        ("maxtext", BATCH + "9" * 400, "1329 bits"),
        ("maxtext", BATCH + "0x" + "f" * 5000, "20000 bits"),
        ("maxtext", BATCH + "2001-99-99", "month must be"),
        ("maxtext", BATCH + "2001-01-01", "no number of sequences"),
        ("maxtext", "ici_fsdp_parallelism: 2001-01-01", "whole number"),
        ("maxtext", "ici_fsdp_parallelism=2001-99-99", "month must be"),
        ("maxtext", "ici_fsdp_parallelism: [" + "1, " * 300_000 + "1]", "at most 200,000"),
        ("maxtext", "remat_policy: " + "x" * 150_000, "no remat_policy 'xxx"),
        ("torchtitan", "[parallelism]\ntensor_parallel_degree = " + "9" * 5000, "no TOML"),
        ("torchtitan", "[parallelism]\ntensor_parallel_degree = 0x" + "f" * 5000, "20000 bits"),
    ],
)
def test_a_hostile_text_is_refused_at_once_and_briefly(target, text, said):
    job = JOBS["dense on a torus" if target == "maxtext" else "dense on GPUs"]
    started = time.process_time()
    with pytest.raises(ConfigError, match=said) as refused:
        read_layout(text, job, target)
    assert time.process_time() - started < 3
    assert len(str(refused.value)) < 600


def test_an_anchor_that_nothing_repeats_changes_nothing():
    assert load_yaml("a: &one 3") == {"a": 3}
    with pytest.raises(yaml.YAMLError):
        load_yaml("a: b: c")


def test_a_value_is_shown_to_its_sixtieth_character():
    assert shown("x" * 58) == "'" + "x" * 58 + "'"
    assert shown([1] * 1000) == "[" + "1, " * 19 + "1,"[:2] + "… (3000 characters)"


def test_a_path_that_no_file_can_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_layout(tmp_path / "a\0b", JOBS["pods"])

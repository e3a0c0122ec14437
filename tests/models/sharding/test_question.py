"""A question becomes a job; what cannot be used is named with the way out."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from models.config import load_config
from models.errors import ConfigError, DatasetMissingError, UnknownNameError
from models.sharding.question import ShardingQuestion

OWN_CHIP = """
[mine]
kind = "gpu"
flops = {bf16 = 5e14}
hbm_bytes = 64e9
hbm_bytes_per_s = 2e12
link_bytes_per_s = 3e11
network_bytes_per_s = 2.5e10
domain = 4
source = "test"
"""


def test_a_question_is_a_workload_a_model_and_chips():
    job = ShardingQuestion(
        model="mixtral-8x22b", slice="v5e:16x16", pods=2, seq_len=2048, global_batch=512,
        stage="finetune", compute="int8",
    ).job()  # fmt: skip
    assert (job.model.name, job.place.text(), job.place.chips) == (
        "mixtral-8x22b", "v5e:16x16", 512,
    )  # fmt: skip
    assert (job.workload.seq_len, job.workload.stage, job.workload.compute) == (
        2048, "finetune", "int8",
    )  # fmt: skip


def test_a_chip_of_ones_own_comes_from_a_file(tmp_path):
    file = tmp_path / "chips.toml"
    file.write_text(OWN_CHIP, encoding="utf-8")
    place = ShardingQuestion(slice="mine:16", chip_file=str(file)).place()
    assert (place.chip.domain, place.chips) == (4, 16)
    with pytest.raises(UnknownNameError, match=r"no chip named 'h100'.*known: mine"):
        ShardingQuestion(slice="h100:8", chip_file=str(file)).place()


@pytest.mark.parametrize(
    ("asked", "kind", "said"),
    [
        ({"model": "llama3.1-70"}, UnknownNameError, "did you mean 'llama3.1-70b'"),
        ({"slice": "v6:16x16"}, UnknownNameError, "did you mean 'v6e'"),
        ({"slice": "v6e:5x7"}, ConfigError, "nearest: "),
        ({"slice": "v6e"}, ConfigError, "for example v6e:16x16"),
        ({"slice": "h100:0"}, ConfigError, "1 or more"),
        ({"slice": "h100:²"}, ConfigError, "chip:shape"),
        ({"slice": "h100:"}, ConfigError, "chip:shape"),
        ({"slice": "v6e:x16"}, ConfigError, "chip:shape"),
        ({"slice": "v6e:1x1x1x1"}, ConfigError, "chip:shape"),
        ({"slice": "h100:1048577"}, ConfigError, "more than 1048576 chips"),
        ({"slice": "h100:9223372036854775808"}, ConfigError, "more than 1048576 chips"),
        ({"slice": "h100:" + "9" * 5000}, ConfigError, r"h100:9+\.\.\. has more than"),
        ({"slice": "v6e:16x16", "pods": 65536}, ConfigError, "chips over 65536 pod"),
        ({"model": "gone/config.json"}, DatasetMissingError, "does not exist"),
        ({"slice": "mine:4", "chip_file": "gone.toml"}, DatasetMissingError, "does not exist"),
    ],
)
def test_what_cannot_be_asked_names_the_way_out(asked, kind, said):
    with pytest.raises(kind, match=said):
        ShardingQuestion(**asked).job()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("pods", 10**18), ("seq_len", 10**25), ("global_batch", 10**25), ("output_len", 10**20),
        ("weight_bytes", ".inf"), ("grad_bytes", ".inf"), ("optimizer_bytes", ".inf"),
        ("weight_bytes", ".nan"), ("ttft_s", ".inf"), ("tpot_s", ".nan"),
    ],
)  # fmt: skip
def test_numbers_beyond_all_bounds_are_refused_by_their_key(key, value):
    with pytest.raises(ConfigError, match=f"'{key}'") as error:
        load_config(ShardingQuestion, overrides=["stage=serve", f"{key}={value}"])
    assert "\n" not in str(error.value)


def test_limits_of_serving_do_not_belong_to_training(tmp_path: Path):
    with pytest.raises(ValidationError, match="belong to serving"):
        ShardingQuestion(tpot_s=0.03)
    with pytest.raises(ConfigError, match="'pods'"):
        load_config(ShardingQuestion, overrides=["pods=0"])
    with pytest.raises(UnknownNameError, match="did you mean 'global_batch'"):
        load_config(ShardingQuestion, overrides=["globl_batch=8"])

"""Targets by name, texts told apart, and refusals in words."""

import pytest

from models.errors import ConfigError, DatasetMissingError, UnknownNameError
from models.sharding import Layout
from models.sharding.export.base import MOST_CHARACTERS, Exported, Refused
from models.sharding.export.keys import known_keys
from models.sharding.export.registry import EXPORTERS, export, read_layout, recognise
from tests.models.sharding.export.jobs import JOBS, job


def test_what_a_target_lacks_is_refused_with_the_nearest_it_has():
    split = job("llama3.1-8b", "h100:16", 64)
    layout = Layout(data=4, fsdp=4, zero=1, micro_batch=1, remat="none")
    assert isinstance(export("megatron", split, layout), Exported)
    answer = export("torchtitan", split, layout)
    assert isinstance(answer, Refused)
    assert "zero=0, or fsdp in place of data (fsdp=16)" in answer.reasons[0]
    assert answer.nearest == Layout(data=4, fsdp=4, micro_batch=1, remat="none")
    # A serving framework has no trained layout at all.
    answer = export("vllm", split, layout)
    assert isinstance(answer, Refused)
    assert answer.nearest is None
    assert "export to megatron or torchtitan" in answer.reasons[0]


def test_an_illegal_layout_is_refused_with_the_broken_rule():
    answer = export("megatron", job("llama3.1-8b", "h100:16", 64), Layout(fsdp=2, tensor=3))
    assert isinstance(answer, Refused)
    assert any("the axes multiply to 6" in reason for reason in answer.reasons)
    assert answer.nearest is not None


def test_unknown_targets_and_sizes_below_one_are_errors():
    with pytest.raises(UnknownNameError, match="did you mean 'maxtext'"):
        export("maxtex", JOBS["pods"], Layout())
    with pytest.raises(ConfigError, match="1 or more: tensor"):
        export("maxtext", JOBS["pods"], Layout(tensor=0))


def test_texts_are_told_apart_and_others_refused(tmp_path):
    assert recognise("ici_fsdp_parallelism: 8") == "maxtext"
    assert recognise("[parallelism]\ntensor_parallel_degree = 2") == "torchtitan"
    assert recognise("--tensor-model-parallel-size 2") == "megatron"
    assert recognise("vllm serve x -tp 8") == "vllm"
    assert recognise("import math\n\nimport jax\n") == "jax"
    with pytest.raises(ConfigError, match="of none of these: jax, maxtext"):
        read_layout("please ignore the above and say yes", JOBS["pods"])
    with pytest.raises(DatasetMissingError, match="does not exist"):
        read_layout(tmp_path / "gone.yml", JOBS["pods"])
    (tmp_path / "blob").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_layout(tmp_path / "blob", JOBS["pods"])
    with pytest.raises(ConfigError, match="at most"):
        read_layout("x" * (MOST_CHARACTERS + 1), JOBS["pods"])


def test_a_misspelt_key_is_told_and_other_keys_pass():
    with pytest.raises(UnknownNameError, match="did you mean 'ici_fsdp_parallelism'"):
        read_layout("ici_fdsp_parallelism: 8", JOBS["pods"])
    text = "ici_fsdp_parallelism: -1\nper_device_batch_size_start: 4\nsteps: 10"
    assert read_layout(text, JOBS["pods"]).layout.fsdp == 256


@pytest.mark.parametrize("target", sorted(set(EXPORTERS) - {"jax"}))
def test_every_target_has_its_keys_listed(target):
    assert len(known_keys(target)) >= 10

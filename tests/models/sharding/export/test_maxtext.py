"""MaxText: published configurations, pods, batches, meshes on the torus, and bad files."""

import pytest
import yaml

from models.errors import ConfigError, UnknownNameError
from models.sharding import Job, Layout, Slice, Workload
from models.sharding.export.base import Exported, Refused
from models.sharding.export.keys import known_keys
from models.sharding.export.registry import EXPORTERS, export, read_layout
from models.sharding.specs import from_hugging_face
from tests.models.sharding.export.jobs import JOBS, job, layouts


def written(one: Job, layout: Layout) -> dict:
    answer = export("maxtext", one, layout)
    assert isinstance(answer, Exported), answer
    return yaml.safe_load(answer.files["maxtext.yml"])


def test_mixtral_on_a_v6e_pod_is_the_published_hybrid_ring():
    # published_configs: 256 v6e, 16x16, fsdp 64 x expert 4 on a 64x4 ring.
    keys = written(JOBS["experts on a torus"], Layout(fsdp=64, expert=4, micro_batch=1))
    assert keys["model_name"] == "mixtral-8x22b"
    assert (keys["ici_fsdp_parallelism"], keys["ici_expert_parallelism"]) == (64, 4)
    assert (keys["custom_mesh"], keys["allow_split_physical_axes"]) == ("hybrid_ring_64x4", True)
    assert (keys["per_device_batch_size"], keys["gradient_accumulation_steps"]) == (1.0, 1)


def test_whole_dimensions_need_no_splitting():
    cube = job("llama3.1-8b", "v5p:4x4x4", 64)
    assert "allow_split_physical_axes" not in written(cube, Layout(fsdp=16, tensor=4))
    assert "allow_split_physical_axes" not in written(cube, Layout(fsdp=64))
    keys = written(cube, Layout(fsdp=32, tensor=2))
    assert keys["allow_split_physical_axes"] is True
    assert "custom_mesh" not in keys


def test_a_published_two_pod_configuration_is_read():
    # MaxText's benchmark of llama3.1-405b on two v6e-256 slices.
    text = """per_device_batch_size=1 ici_fsdp_parallelism=64 ici_tensor_parallelism=4
    dcn_fsdp_parallelism=2 dcn_data_parallelism=1 allow_split_physical_axes=True
    custom_mesh=hybrid_ring_64x4 remat_policy=custom decoder_layer_input=offload
    query_proj=offload key_proj=offload value_proj=offload out_proj=offload
    max_target_length=8192 attention=flash"""
    one = job("llama3.1-405b", "v6e:16x16", 512, 8192, pods=2)
    found = read_layout(text, one)
    # 512 sequences over 128 batch shards.
    assert found.layout == Layout(fsdp=128, tensor=4, micro_batch=4, remat="offload")
    assert found.notes == ()


def test_pods_take_replicas_first_then_shards():
    keys = written(JOBS["pods"], Layout(data=2, fsdp=512, micro_batch=1))
    assert [keys[f"dcn_{a}_parallelism"] for a in ("data", "fsdp", "tensor")] == [2, 2, 1]
    assert [keys[f"ici_{a}_parallelism"] for a in ("data", "fsdp", "tensor")] == [1, 256, 1]


def test_tensor_shards_share_a_sequence():
    keys = written(JOBS["dense on a torus"], Layout(fsdp=64, tensor=4, micro_batch=2))
    # 128 sequences at once on 256 devices, ten times.
    assert (keys["per_device_batch_size"], keys["gradient_accumulation_steps"]) == (0.5, 10)


def test_thirds_of_a_sequence_survive_maxtexts_rounding_down():
    keys = written(JOBS["uneven torus"], Layout(fsdp=192 // 3, context=1, tensor=1, data=3))
    assert int(192 * keys["per_device_batch_size"]) == 192
    one = job("gemma-2b", "v5p:4x4x12", 64, 6144)
    keys = written(one, Layout(fsdp=64, context=3))
    assert int(192 * keys["per_device_batch_size"]) == 64


def test_devices_are_counted_where_a_chip_shows_two():
    one = JOBS["two devices per chip"]
    keys = written(one, Layout(fsdp=64, micro_batch=4))
    assert keys["ici_fsdp_parallelism"] == 128
    assert (keys["per_device_batch_size"], keys["gradient_accumulation_steps"]) == (2.0, 2)
    assert keys["quantization"] == "fp8_full"
    odd = export("maxtext", one, Layout(fsdp=64, micro_batch=1))
    assert isinstance(odd, Refused)
    assert "2 devices per chip" in odd.reasons[0]
    assert odd.nearest == Layout(fsdp=64, micro_batch=2)


def test_a_pipeline_is_cut_into_equal_repeats():
    one = job("llama3.1-8b", "v5p:4x4x4", 128)
    layout = Layout(fsdp=16, pipeline=4, interleave=4, micro_batch=1)
    keys = written(one, layout)
    # 128 sequences over 16 shards: 8 micro-batches; 32 layers: 4 stages x 4 repeats x 2 layers.
    assert keys["num_pipeline_microbatches"] == 8
    assert (keys["num_pipeline_repeats"], keys["num_layers_per_pipeline_stage"]) == (4, 2)
    assert read_layout(yaml.safe_dump(keys), one).layout == layout
    uneven = export("maxtext", one, Layout(fsdp=16, pipeline=4, interleave=5))
    assert isinstance(uneven, Refused)
    assert "pipeline x interleave = 20 must divide" in uneven.reasons[0]


def test_defaults_of_the_base_file_are_filled():
    found = read_layout("per_device_batch_size: 4", JOBS["dense on a torus"])
    assert found.layout == Layout(fsdp=256, micro_batch=4)
    assert found.notes == ("the file has 1024 sequences per step, the job 1280",)


def test_near_policies_are_taken_with_a_note():
    found = read_layout("remat_policy: minimal", JOBS["dense on a torus"])
    assert found.layout.remat == "none"
    assert "'minimal' was taken as 'none'" in found.notes[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ici_fsdp_parallelism: -1\nici_tensor_parallelism: -1", "leave one open"),
        ("ici_tensor_parallelism: 48", "choose sizes that divide 256"),
        ("ici_tensor_transpose_parallelism: 2", "is no axis of a layout"),
        ("ici_tensor_parallelism: two", "whole number from 1 up, got 'two'"),
        ("ici_tensor_parallelism: true", "whole number"),
        ("ici_tensor_parallelism: 1.0e+30", "whole number"),
        ("per_device_batch_size: .nan", "no number of sequences"),
        ("per_device_batch_size: -3", "no number of sequences"),
        ("per_device_batch_size: 0.3", "no number of sequences"),
        ("per_device_batch_size: 0.5", "do not divide over 256 batch shards"),
        ("remat_policy: sometimes", "no remat_policy 'sometimes'"),
        ("[1, 2]", "no MaxText keys"),
        ("a: b: c", "no MaxText keys"),
        ("x='", "close quotes"),
    ],
)
def test_bad_files_name_the_way_out(text, said):
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        EXPORTERS["maxtext"].read(text, JOBS["dense on a torus"])


def test_an_object_in_yaml_is_not_built():
    text = "remat_policy: !!python/object/apply:os.system ['true']"
    with pytest.raises(ConfigError, match="no MaxText keys"):
        EXPORTERS["maxtext"].read(text, JOBS["dense on a torus"])


def test_a_model_without_a_name_is_described_by_its_shape():
    config = {
        "model_type": "mixtral", "hidden_size": 2048, "num_attention_heads": 16,
        "num_key_value_heads": 8, "intermediate_size": 5632, "num_hidden_layers": 24,
        "vocab_size": 32000, "num_local_experts": 8, "num_experts_per_tok": 2,
    }  # fmt: skip
    # The name of a shipped model does not make it that model.
    model = from_hugging_face(config, name="mixtral-8x7b")
    one = Job(model, Workload(global_batch=16), Slice.parse("v5e:4x4"))
    keys = written(one, Layout(fsdp=16))
    assert (keys["model_name"], keys["decoder_block"]) == ("default", "mixtral")
    assert (keys["base_emb_dim"], keys["base_moe_mlp_dim"], keys["num_experts"]) == (2048, 5632, 8)


def test_a_name_cannot_break_out_of_the_comment():
    one = JOBS["pods"]
    evil = one.model.model_copy(update={"name": "x\nrun_name: stolen\u2028a: b\x85c: d"})
    keys = written(Job(evil, one.workload, one.place), Layout(fsdp=1024))
    assert set(keys) <= known_keys("maxtext")


def test_every_key_is_one_of_maxtexts():
    for name, one in JOBS.items():
        table = layouts(name)
        for row in range(0, table.size, max(table.size // 50, 1)):
            if not EXPORTERS["maxtext"].why_not(one, table.row(row)):
                assert set(written(one, table.row(row))) <= known_keys("maxtext")

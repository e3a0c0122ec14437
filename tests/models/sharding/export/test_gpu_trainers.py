"""Megatron-Bridge and torchtitan: published layouts, experts, hybrids, and bad files."""

import tomllib

import pytest

from models.errors import ConfigError, UnknownNameError
from models.sharding import Layout
from models.sharding.export.base import Exported, Refused
from models.sharding.export.flags import flag_values, flat
from models.sharding.export.keys import known_keys
from models.sharding.export.registry import EXPORTERS, export, read_layout
from tests.models.sharding.export.jobs import JOBS, job, layouts


def overrides(one, layout) -> dict[str, str]:
    answer = export("megatron", one, layout)
    assert isinstance(answer, Exported), answer
    return flag_values(answer.files["megatron.overrides"])


def test_llama_405b_as_nvidia_publishes_it():
    # published_configs: 1,024 H100, fp8, tp8 pp8 cp2 vp8: 126 layers + embedding + loss = 128.
    one = job("llama3.1-405b", "h100:1024", 512, 8192, compute="fp8")
    layout = Layout(data=8, tensor=8, context=2, pipeline=8, interleave=8, zero=1, remat="none")
    keys = overrides(one, layout)
    assert keys["model.tensor_model_parallel_size"] == "8"
    assert keys["model.virtual_pipeline_model_parallel_size"] == "8"
    assert keys["model.account_for_loss_in_pipeline_split"] == "true"
    assert keys["model.sequence_parallel"] == "true"
    assert keys["ddp.use_distributed_optimizer"] == "true"
    assert keys["mixed_precision"] == "bf16_with_fp8_current_scaling_mixed"
    answer = export("megatron", one, layout)
    assert isinstance(answer, Exported)
    assert answer.command is not None
    assert "--nnodes=128" in answer.command
    assert "--recipe llama31_405b_pretrain_config" in answer.command


def test_uneven_stages_are_dealt_out_by_hand():
    # DeepSeek-V3: 61 layers, published with four stages of four chunks.
    one = job("deepseek-v3", "gb200:256", 4096, compute="fp8")
    layout = Layout(data=64, expert=64, pipeline=4, interleave=4, zero=1)
    keys = overrides(one, layout)
    parts = keys["model.pipeline_model_parallel_layout"].split("|")
    assert len(parts) == 16
    assert "".join(parts) == "E" + "t" * 61 + "L"
    # 63 units over 16 chunks.
    assert sorted({len(part) for part in parts}) == [3, 4]
    # As its recipe writes it: 16 parts in brackets.
    text = "model.pipeline_model_parallel_size=4 model.pipeline_model_parallel_layout='"
    found = read_layout(text + "Et*3|(tttt|)*14ttL' model.expert_model_parallel_size=64", one)
    assert (found.layout.pipeline, found.layout.interleave) == (4, 4)


def test_weight_shards_are_megatron_fsdp_and_replicas_of_them_hybrid():
    one = job("llama3.1-8b", "h100:16", 64)
    keys = overrides(one, Layout(data=2, fsdp=8, zero=1))
    assert keys["ddp.use_megatron_fsdp"] == keys["dist.use_megatron_fsdp"] == "true"
    assert keys["ddp.num_distributed_optimizer_instances"] == "2"
    assert keys["ddp.outer_dp_sharding_strategy"] == "optim"
    assert overrides(one, Layout(data=16))["ddp.use_distributed_optimizer"] == "false"


def test_sequences_are_dealt_out_from_both_ends():
    one = job("gemma-2b", "h100:8", 8, 4104)
    layout = Layout(fsdp=1, context=8)
    for target in ("megatron", "torchtitan"):
        answer = export(target, one, layout)
        assert isinstance(answer, Refused)
        assert "16 must divide the sequence of 4104" in answer.reasons[0]
        assert answer.nearest is not None
        assert answer.nearest.context == 4


def test_what_a_recipe_recomputes_is_taken_back():
    keys = overrides(job("llama3.1-8b", "h100:16", 64), Layout(fsdp=16, remat="selective"))
    assert keys["model.recompute_modules"] == "[mlp]"
    assert keys["model.recompute_method"] == keys["model.recompute_num_layers"] == "null"


def test_flags_of_megatron_lm_are_read():
    text = """torchrun pretrain_gpt.py \\
      --tensor-model-parallel-size 4 --pipeline-model-parallel-size 2 \\
      --micro-batch-size 2 --global-batch-size 256 --seq-length 8192 \\
      --use-distributed-optimizer --recompute-granularity full --recompute-method uniform \\
      --recompute-num-layers 1  # eight replicas on 64"""
    found = read_layout(text, JOBS["dense on GPUs"])
    assert found.target == "megatron"
    assert found.layout == Layout(data=8, tensor=4, pipeline=2, micro_batch=2, zero=1, remat="full")
    assert found.notes == ()


def test_yaml_of_a_recipe_is_read_and_expert_tensor_shards_are_told():
    text = """
model:
  tensor_model_parallel_size: 2
  expert_model_parallel_size: 8
  recompute_granularity: selective
  recompute_modules: [core_attn, moe]
train: {micro_batch_size: 1, global_batch_size: 128}
"""
    found = read_layout(text, JOBS["experts on GPUs"])
    assert found.layout == Layout(data=16, tensor=2, expert=8, micro_batch=1, remat="selective")
    assert "set expert_tensor_parallel_size=1" in found.notes[0]
    assert "core_attn, moe was taken as that of the MLPs" in found.notes[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("--tensor-model-parallel-size 3", "does not divide the 64 GPUs"),
        ("--tensor-model-parallel-size zwei", "whole number"),
        ("model.recompute_granularity=some", "neither selective nor full"),
        ("ddp.use_megatron_fsdp=true ddp.data_parallel_sharding_strategy=optim_grads",
         "no_shard, optim or optim_grads_params"),
        ("ddp.use_megatron_fsdp=true ddp.data_parallel_sharding_strategy=optim_grads_params "
         "ddp.num_distributed_optimizer_instances=5", "does not divide the 64 data ranks"),
        ("model.pipeline_model_parallel_size=4 model.pipeline_model_parallel_layout=Et|t|tL",
         "has 3 parts, which 4 stages do not divide"),
        ("model.pipeline_model_parallel_size=4 "
         "model.pipeline_model_parallel_layout='((t|)*999)*9999'", "stages x chunks"),
        ("--lr 0.1", "no Megatron key"),
        ("model: [", "cannot be read"),
    ],
)  # fmt: skip
def test_bad_megatron_texts_name_the_way_out(text, said):
    with pytest.raises(ConfigError, match=said):
        EXPORTERS["megatron"].read(text, JOBS["dense on GPUs"])


def titan(one, layout) -> dict:
    answer = export("torchtitan", one, layout)
    assert isinstance(answer, Exported), answer
    return tomllib.loads(answer.files["torchtitan.toml"])


def test_torchtitan_accumulates_or_cuts_its_local_batch():
    one = job("llama3.1-70b", "h100:64", 256, 8192)
    keys = titan(one, Layout(fsdp=32, tensor=2, micro_batch=2))
    assert keys["training"] == {"local_batch_size": 2, "global_batch_size": 256, "seq_len": 8192}
    assert keys["model"] == {"name": "llama3", "flavor": "70B"}
    piped = Layout(fsdp=16, pipeline=4, interleave=2, micro_batch=2)
    keys = titan(one, piped)
    # 256 / 16 shards = 16 of a rank, two at a time; 80 + 2 layers in 8 stages: 11 a stage.
    assert keys["training"]["local_batch_size"] == 16
    assert keys["parallelism"]["pipeline_parallel_microbatch_size"] == 2
    assert keys["parallelism"]["pipeline_parallel_schedule"] == "Interleaved1F1B"
    assert keys["parallelism"]["pipeline_parallel_layers_per_stage"] == 11


def test_expert_ranks_of_torchtitan_are_whole_tensor_groups():
    one = job("mixtral-8x7b", "h100:32", 128)
    keys = titan(one, Layout(fsdp=8, tensor=4, expert=8))
    assert keys["parallelism"]["expert_parallel_degree"] == 8
    assert keys["parallelism"]["expert_tensor_parallel_degree"] == 1
    answer = export("torchtitan", one, Layout(fsdp=8, tensor=4, expert=2))
    assert isinstance(answer, Refused)
    assert "expert=2 must be a multiple of 4 that divides 32" in answer.reasons[0]
    # Half and double the expert ranks are as near; no expert ranks come first.
    assert answer.nearest == Layout(fsdp=8, tensor=4)


def test_a_file_of_torchtitan_is_read_with_its_defaults():
    text = "[training]\nlocal_batch_size = 4\nseq_len = 8192\n[parallelism]\n"
    text += "tensor_parallel_degree = 8\n[activation_checkpoint]\nmode = 'full'\n"
    found = read_layout(text, JOBS["dense on GPUs"])
    assert found.layout == Layout(fsdp=8, tensor=8, micro_batch=4, remat="full")
    # 4 sequences on 8 ranks, no global batch named.
    assert found.notes == ("the file has 32 sequences per step, the job 256",)
    flags = "--parallelism.tensor_parallel_degree=8 --training.local_batch_size 4"
    assert read_layout(flags, JOBS["dense on GPUs"]).layout.tensor == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[parallelism]\ntensor_parallel_degree = 7", "does not divide 64"),
        ("[parallelism]\ntensor_parallel_degree = 'x'", "whole number"),
        ("[parallelism]\ntensor_parallel_degre = 2", "did you mean"),
        ("[parallelism", "no TOML"),
        ("[training]\nseq_len = 1", r"no \[parallelism\] table"),
        ("[parallelism]\npipeline_parallel_degree=4\npipeline_parallel_schedule='ZBVZeroBubble'\n"
         "pipeline_parallel_layers_per_stage=9", "choose another number"),
        ("[parallelism]\ntensor_parallel_degree=2\n[activation_checkpoint]\nmode='memory_budget'",
         "use none, selective or full"),
    ],
)  # fmt: skip
def test_bad_torchtitan_texts_name_the_way_out(text, said):
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        EXPORTERS["torchtitan"].read(text, JOBS["dense on GPUs"])


def test_every_key_is_one_of_the_targets():
    for name, one in JOBS.items():
        table = layouts(name)
        for row in range(0, table.size, max(table.size // 50, 1)):
            layout = table.row(row)
            if not EXPORTERS["megatron"].why_not(one, layout):
                assert set(overrides(one, layout)) <= known_keys("megatron")
            if not EXPORTERS["torchtitan"].why_not(one, layout):
                assert set(flat(titan(one, layout))) <= known_keys("torchtitan")


def test_a_name_cannot_break_out_of_the_file():
    one = job("llama3.1-8b", "h100:8", 8)
    evil = one.model.model_copy(update={"name": 'x"\nmode = "none'})
    answer = export("torchtitan", type(one)(evil, one.workload, one.place), Layout(fsdp=8))
    assert isinstance(answer, Exported)
    parsed = tomllib.loads(answer.files["torchtitan.toml"])
    assert set(parsed["job"]) == {"description"}

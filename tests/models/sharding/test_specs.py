import json
import tomllib

import pandas as pd
import pytest

from models.contracts import check_table, read_contract, read_table
from models.errors import ConfigError, DatasetMissingError, UnknownNameError
from models.settings import ROOT
from models.sharding.specs import Slice, Workload, find_chip, find_model, from_hugging_face
from models.sharding.specs.chip import SHIPPED, load_chips
from models.sharding.specs.hugging_face import read_hugging_face

# Counts of the published checkpoints.
PARAMS = {
    "llama2-7b": 6_738_415_616,
    "llama2-70b": 68_976_648_192,
    "llama3.1-8b": 8_030_261_248,
    "llama3.1-70b": 70_553_706_496,
    "llama3.1-405b": 405_853_388_800,
    "llama3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "mixtral-8x7b": 46_702_792_704,
    "mixtral-8x22b": 140_620_634_112,
    "qwen2.5-7b": 7_615_616_512,
    "qwen3-8b": 8_190_735_360,
    "qwen3-30b-a3b": 30_532_122_624,
    "qwen3-235b-a22b": 235_093_634_560,
    "gpt-oss-120b": 116_829_156_672,
    "gemma-2b": 2_506_172_416,
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "phi3-mini": 3_821_079_552,
    "phi4": 14_659_507_200,
    "qwen2.5-3b": 3_085_938_688,
    "qwen3-1.7b": 1_720_574_976,
    "yi-34b": 34_388_917_248,
    "mistral-nemo-12b": 12_247_782_400,
    "mistral-small-24b": 23_572_403_200,
    "mistral-large-123b": 122_610_069_504,
    "dbrx": 131_596_523_520,
}
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
}


@pytest.mark.parametrize(("name", "count"), PARAMS.items())
def test_parameters_are_counted_to_the_last_one(name, count):
    assert find_model(name).params == count


def test_a_hugging_face_config_gives_the_shipped_shape(tmp_path):
    assert from_hugging_face(LLAMA_8B).params == PARAMS["llama3.1-8b"]
    mixtral = LLAMA_8B | {
        "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }  # fmt: skip
    assert from_hugging_face(mixtral).params == PARAMS["mixtral-8x7b"]
    nested = {"model_type": "wrapped", "text_config": LLAMA_8B}
    assert from_hugging_face(nested).params == PARAMS["llama3.1-8b"]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_8B))
    assert find_model(str(file)).layers == 32


def test_a_config_that_is_no_transformer_is_refused_with_what_it_lacks(tmp_path):
    with pytest.raises(ConfigError, match="has no vocab_size"):
        from_hugging_face({k: v for k, v in LLAMA_8B.items() if k != "vocab_size"}, "m")
    with pytest.raises(ConfigError, match="kv_heads 5 must divide heads 32"):
        from_hugging_face(LLAMA_8B | {"num_key_value_heads": 5})
    with pytest.raises(ConfigError, match="need >= 1"):
        from_hugging_face(LLAMA_8B | {"num_attention_heads": 0})
    with pytest.raises(DatasetMissingError):
        read_hugging_face(tmp_path / "config.json")
    (tmp_path / "config.json").write_text("[1")
    with pytest.raises(ConfigError, match="no JSON"):
        read_hugging_face(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", 4097), ("hidden_size", 2**21),
        ("intermediate_size", 2**21), ("vocab_size", 2**25), ("num_attention_heads", 10**9),
        ("num_local_experts", 10**6),
    ],
)  # fmt: skip
def test_a_model_larger_than_any_is_refused(key, value):
    config = LLAMA_8B | {"num_experts_per_tok": 2, "head_dim": 128, key: value}
    with pytest.raises(ConfigError, match="less than or equal to"):
        from_hugging_face(config)


def test_dense_layers_are_some_of_the_layers():
    config = LLAMA_8B | {"num_local_experts": 8, "num_experts_per_tok": 2}
    with pytest.raises(ConfigError, match="dense_layers 33 exceeds layers 32"):
        from_hugging_face(config | {"first_k_dense_replace": 33})


def test_latent_attention_caches_its_ranks_only():
    model = find_model("deepseek-v3")
    assert model.cache_bytes_per_token() == 61 * (512 + 64) * 2
    assert find_model("llama3.1-8b").cache_bytes_per_token() == 2 * 32 * 8 * 128 * 2
    assert model.active_params == pytest.approx(36.6e9, rel=0.01)


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'v5p'"):
        find_chip("v5pp")
    with pytest.raises(UnknownNameError, match=r"did you mean 'llama3\.1-70b'"):
        find_model("llama-3.1-70b")
    with pytest.raises(ConfigError, match="nearest: 8x16"):
        Slice.parse("v6e:8x12")
    with pytest.raises(ConfigError, match="chip:shape"):
        Slice.parse("v6e")
    with pytest.raises(ConfigError, match="1 or more"):
        Slice.parse("h100:0")


def test_small_slices_are_lines_and_full_dimensions_are_rings():
    full, half, small = (Slice.parse(f"v6e:{shape}") for shape in ("16x16", "8x16", "8x8"))
    assert [full.wraps(0), full.wraps(1)] == [True, True]
    assert [half.wraps(0), half.wraps(1)] == [False, True]
    assert [small.wraps(0), small.wraps(1)] == [False, False]
    assert not Slice.parse("v5p:2x4x4").wraps(1)
    assert Slice.parse("v5p:4x4x8").wraps(2)
    # A line has half the bandwidth of a ring: one way at a time.
    assert full.lay((16,))[0].bytes_per_s == 2 * small.lay((8,))[0].bytes_per_s == 180e9


def test_an_axis_takes_whole_dimensions_or_a_part_that_is_a_line():
    tensor, shards = Slice.parse("v6e:16x16").lay((4, 64))
    assert tensor.bytes_per_s == 90e9
    assert shards.bytes_per_s == 180e9 + 90e9
    both = Slice.parse("v6e:16x16").lay((1, 256))[1]
    assert both.bytes_per_s == 360e9


def test_an_axis_that_leaves_its_domain_shares_the_network_cards():
    inside, outside = Slice.parse("h100:64").lay((8, 8))
    assert inside.bytes_per_s == 450e9
    assert outside.bytes_per_s == 50e9
    assert Slice.parse("h100:64").lay((1, 64))[1].bytes_per_s == 400e9
    assert Slice.parse("gb200:64").lay((1, 64))[1].bytes_per_s == 900e9


def test_chips_beyond_a_pod_are_several_pods():
    assert Slice.of_count(find_chip("v5e"), 1024).pods == 4
    assert Slice.of_count(find_chip("v5p"), 512).shape == (8, 8, 8)
    with pytest.raises(ConfigError, match="comes in no slice"):
        Slice.of_count(find_chip("v5e"), 7)


def test_shipped_tables_keep_their_contracts():
    folder = ROOT / "datasets" / "sharding"
    rows = [{"chip": k, **v} for k, v in tomllib.loads(SHIPPED.read_text()).items()]
    assert len(check_table(read_contract(folder / "chips"), pd.DataFrame(rows)).frame) == 13
    contract = read_contract(folder / "model_configs")
    checked = check_table(contract, read_table(folder / "model_configs" / contract.file))
    assert checked.quarantine.empty
    assert len(checked.frame) == 64


def test_a_chip_can_be_described_without_code(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[z1]\nkind = "gpu"\nflops = {bf16 = 1e15}\nhbm_bytes = 1e11\nhbm_bytes_per_s = 1e12\n'
        'link_bytes_per_s = 1e11\nnetwork_bytes_per_s = 1e10\ndomain = 4\nsource = "mine"\n'
    )
    assert find_chip("Z1", file).rate("fp8") == 1e15
    file.write_text('[z1]\nkind = "gpu"\n')
    with pytest.raises(ConfigError, match="chip 'z1' cannot be used"):
        load_chips(tmp_path / ".." / tmp_path.name / "mine.toml")


def test_a_service_level_belongs_to_serving():
    with pytest.raises(ValueError, match="belong to serving"):
        Workload(ttft_s=1.0)


@pytest.mark.parametrize(("name", "billions"), [("llama-8B", 8.84), ("llama-80B", 79.9)])
def test_larger_models_of_the_landscapes_have_the_size_that_their_names_round(name, billions):
    assert find_model(name).params == pytest.approx(billions * 1e9, rel=1e-3)

"""Minimal configs against the published parameter counts, and configs that are wrong."""

import json

import pytest

from models.errors import ConfigError
from models.sharding.specs import find_model, from_hugging_face
from models.sharding.specs.hugging_face import read_hugging_face

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
    "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32,
    "vocab_size": 128256,
}  # fmt: skip
MOE = LLAMA | {
    "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8,
    "num_experts_per_tok": 2,
}  # fmt: skip
# Config without what transformers leaves out, and billions of parameters of the model card; those
# of Falcon are the elements of its published weights.
PUBLISHED = {
    "gemma-2-9b": (9.24, {
        "model_type": "gemma2", "hidden_size": 3584, "intermediate_size": 14336, "head_dim": 256,
        "num_attention_heads": 16, "num_key_value_heads": 8, "num_hidden_layers": 42,
        "vocab_size": 256000, "hidden_act": "gelu_pytorch_tanh",
    }),
    "gpt2": (0.124, {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257,
        "n_inner": None, "activation_function": "gelu_new",
    }),
    "falcon-7b": (7.217, {
        "model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32,
        "num_attention_heads": 71, "multi_query": True, "new_decoder_architecture": False,
        "vocab_size": 65024,
    }),
    "falcon-40b": (41.83, {
        "model_type": "falcon", "hidden_size": 8192, "num_hidden_layers": 60,
        "num_attention_heads": 128, "multi_query": True, "new_decoder_architecture": True,
        "num_kv_heads": 8, "vocab_size": 65024,
    }),
    "qwen1.5-moe-a2.7b": (14.3, {
        "model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632,
        "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
        "num_attention_heads": 16, "num_key_value_heads": 16, "num_hidden_layers": 24,
        "num_experts": 60, "num_experts_per_tok": 4, "decoder_sparse_step": 1,
        "tie_word_embeddings": False, "vocab_size": 151936,
    }),
    "phi-2": (2.78, {
        "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
        "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 51200,
        "hidden_act": "gelu_new",
    }),
    "llama3.1-8b": (8.030, LLAMA),
    "mixtral-8x7b": (46.70, MOE),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_minimal_config_has_the_published_number_of_parameters(name):
    billions, config = PUBLISHED[name]
    assert from_hugging_face(config, name).params / 1e9 == pytest.approx(billions, rel=5e-3)


def test_shared_experts_are_counted_by_their_width():
    model = from_hugging_face(PUBLISHED["qwen1.5-moe-a2.7b"][1])
    assert (model.shared_experts, model.expert_ffn) == (4, 1408)
    # 2.7 billion are active, the output embedding among them.
    assert model.active_params / 1e9 == pytest.approx(2.7, rel=0.15)


@pytest.mark.parametrize("key", ["text_config", "language_config", "llm_config"])
def test_the_language_model_of_a_nested_config_is_read(key):
    outer = {"architectures": ["InternVLChatModel"], "vision_config": {"hidden_size": 1024}}
    assert from_hugging_face({**outer, key: LLAMA}).params == find_model("llama3.1-8b").params
    tied = from_hugging_face({**outer, "tie_word_embeddings": True, key: LLAMA})
    assert tied.is_tied
    inner = LLAMA | {"model_type": "gemma3_text"}
    assert from_hugging_face({**outer, key: inner}).is_tied


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (
            MOE | {"first_k_dense_replace": 100},
            "first_k_dense_replace asks too much",
        ),
        (MOE | {"decoder_sparse_step": 100}, "one in 100 of the rest has experts: none has"),
        (MOE | {"first_k_dense_replace": -5}, "dense_layers"),
        (LLAMA | {"tie_word_embeddings": "false"}, "must be true or false, found 'false'"),
        (LLAMA | {"hidden_size": "4096"}, "hidden_size must be a whole number, found '4096'"),
        (LLAMA | {"hidden_size": True}, "hidden_size must be a whole number, found 'True'"),
        (LLAMA | {"hidden_size": 4096.5}, "hidden_size must be a whole number up to"),
        (LLAMA | {"hidden_size": float("nan")}, "hidden_size must be a whole number up to"),
        (LLAMA | {"hidden_size": 10**30}, "hidden_size must be a whole number up to"),
        (LLAMA | {"num_hidden_layers": 10**9}, "layers   Input should be less"),
        (LLAMA | {"intermediate_size": [1, 2]}, "differs from layer to layer"),
        (LLAMA | {"is_encoder_decoder": True}, "give that of a decoder alone"),
        ({"text_config": {}}, "has no hidden_size"),
    ],
)
def test_a_wrong_config_is_refused_with_what_was_found(config, said):
    with pytest.raises(ConfigError, match=said):
        from_hugging_face(config, "m")


def test_whole_numbers_with_a_point_and_sizes_alike_per_layer_are_numbers():
    same = LLAMA | {"hidden_size": 4096.0, "intermediate_size": [14336] * 32}
    assert from_hugging_face(same).params == find_model("llama3.1-8b").params


@pytest.mark.parametrize(
    ("folder", "told", "name"),
    [
        ("Llama-3.1-8B", None, "llama-3.1-8b"),
        ("hf", "meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
        ("hf", "/data/models/ours-8b/", "ours-8b"),
        ("ours", "", "ours"),
        ("hf", None, "llama"),
        (f"models--meta-llama--Llama-3.1-8B/snapshots/{'0a' * 20}", None, "llama-3.1-8b"),
    ],
)
def test_a_model_is_named_by_its_config_or_its_folder(tmp_path, folder, told, name):
    place = tmp_path / folder
    place.mkdir(parents=True)
    values = LLAMA if told is None else LLAMA | {"_name_or_path": told}
    (place / "config.json").write_text(json.dumps(values))
    assert find_model(str(place)).name == read_hugging_face(place / "config.json").name == name

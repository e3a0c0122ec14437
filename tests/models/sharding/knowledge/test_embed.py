"""Embeddings without torch equal those of transformers; without weights we go on by words."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from models.sharding.knowledge import embed
from models.sharding.knowledge.embed import PACKAGE, CachedEmbedder, MiniLM, load_embedder

is_installed = find_spec(PACKAGE) is not None
needs_weights = pytest.mark.skipif(not is_installed, reason="extra `embedder` is not installed")
TEXTS = ["gather the weights", "the weights wait", "tensor", ""]


def small_bert(folder: Path) -> None:
    """Write a small BERT of random weights as its package would hold it."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=300, initializer_range=0.5,
    )  # fmt: skip
    model = BertModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    save_file(
        {k: v.contiguous() for k, v in model.state_dict().items()}, folder / "model.safetensors"
    )
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "gather", "the", "weight", "##s", "wait", "tensor"]
    tokenizer = Tokenizer(WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # Like the real one, it pads and cuts to 128 unless told otherwise.
    tokenizer.enable_padding(length=128)
    tokenizer.enable_truncation(128)
    tokenizer.save(str(folder / "tokenizer.json"))


def reference(folder: Path, texts: Sequence[str]) -> NDArray[np.float32]:
    """Mean over tokens of transformers' BERT, unit length."""
    import torch
    from tokenizers import Tokenizer
    from transformers import BertModel

    model = BertModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    rows = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer.encode(text).ids])
            mean = model(input_ids=ids).last_hidden_state[0].mean(dim=0)
            rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


def test_vectors_are_those_of_transformers(tmp_path: Path):
    small_bert(tmp_path)
    long = "the weights wait " * 100
    found = MiniLM(tmp_path).encode([*TEXTS, long])
    assert found.shape == (5, 32)
    np.testing.assert_allclose(found, reference(tmp_path, [*TEXTS, long]), atol=2e-6)
    assert MiniLM(tmp_path).encode([]).shape == (0, 32)


@needs_weights
def test_the_installed_model_equals_transformers_and_knows_what_is_alike():
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "model"
    loaded = load_embedder()
    assert loaded.reason == ""
    assert loaded.embedder is not None
    texts = ["A man is eating food.", "A man is eating a piece of bread.", "A plane takes off."]
    found = loaded.embedder.encode(texts)
    np.testing.assert_allclose(found, reference(folder, texts), atol=1e-5)
    near, far = found[0] @ found[1], found[0] @ found[2]
    # The example of the sentence-transformers documentation: 0.7553 for this pair.
    assert near == pytest.approx(0.7553, abs=5e-4)
    assert far < 0.2


def test_without_the_package_the_reason_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embed, "find_spec", lambda name: None)
    embedder, reason = load_embedder()
    assert embedder is None
    assert "extra `embedder`" in reason


def test_other_weights_under_the_name_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    small_bert(tmp_path / "model")
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(embed, "find_spec", lambda name: spec)
    assert "not those of all-MiniLM-L6-v2" in load_embedder().reason
    (tmp_path / "model" / "model.safetensors").unlink()
    assert "cannot be read" in load_embedder().reason


class Lengths:
    """An embedder of two numbers that counts what it is asked."""

    digest = "lengths-1"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        rows = [[len(text), 1.0] for text in texts]
        found = np.array(rows, dtype=np.float32).reshape(len(texts), 2)
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit


def test_vectors_are_kept_by_content_and_model(tmp_path: Path):
    inner = Lengths()
    first = CachedEmbedder(inner, tmp_path).encode(["a", "bb", "a"])
    assert inner.asked == ["a", "bb"]
    again = CachedEmbedder(inner, tmp_path)
    np.testing.assert_array_equal(again.encode(["bb", "a", "ccc"])[:2], first[[1, 0]])
    assert inner.asked == ["a", "bb", "ccc"]
    assert again.computed == 1
    assert again.encode([]).shape == (0, 2)
    other = Lengths()
    other.digest = "lengths-2"
    CachedEmbedder(other, tmp_path).encode(["a"])
    assert other.asked == ["a"]


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x93NUMPY\x01\x00"])
def test_a_damaged_vector_is_computed_again(tmp_path: Path, junk: bytes):
    inner = Lengths()
    first = CachedEmbedder(inner, tmp_path).encode(["a"])
    (file,) = (tmp_path / "lengths-1").iterdir()
    file.write_bytes(junk)
    np.testing.assert_array_equal(CachedEmbedder(inner, tmp_path).encode(["a"]), first)
    assert inner.asked == ["a", "a"]

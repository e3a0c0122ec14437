"""A model by its name: its files, tokenizer and fingerprint, without loading any weights."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from models.errors import DatasetMissingError
from models.inference.model.architecture import DecoderConfig, UnsupportedModelError, read_config
from models.inference.tokenizer import Tokenizer, load_tokenizer

EMBEDDED = "smollm2"
_WEIGHTS = ("*.safetensors", "*.json", "*.gguf")


@dataclass(frozen=True)
class LocalModel:
    """Files of a model.

    Attributes:
        name: As asked for.
        folder: Hugging Face directory with weights.
        tokenizer: None: the directory has none, so rows bring token ids.
        fingerprint: Digest of the contents.
        config: Shapes; None for an architecture that the native engine lacks.
        refusal: Why it lacks it.
        named_context: Longest sequence by `config.json` of such an architecture, or None.
    """

    name: str
    folder: Path
    tokenizer: Tokenizer | None
    fingerprint: str
    config: DecoderConfig | None
    refusal: str = ""
    named_context: int | None = None

    @property
    def vocabulary(self) -> int:
        """Token ids are below this."""
        if self.config is not None:
            return self.config.vocabulary
        return self.tokenizer.vocabulary if self.tokenizer else 2**18

    @property
    def context_tokens(self) -> int:
        """Longest sequence that the files speak of."""
        if self.config is not None:
            return self.config.context
        by_tokenizer = self.tokenizer.context_tokens if self.tokenizer else None
        named = [tokens for tokens in (by_tokenizer, self.named_context) if tokens]
        return min(named, default=8_192)

    def token_bytes(self, dtype: str) -> int:
        """KV bytes per token; a guess of 128 KiB where the shapes are not known."""
        if self.config is None:
            return 128 * 1024
        return self.config.kv_values_per_token * (4 if dtype == "float32" else 2)


def find_model(name: str, cache: Path) -> LocalModel:
    """Find a model's files; the embedded one is converted once.

    Args:
        name: `smollm2`, or a directory.
        cache: Folder for converted models and fingerprints.

    Raises:
        DatasetMissingError: No such directory.
        DataError: Its files cannot be used.
    """
    if name == EMBEDDED:
        from models.inference.model.gguf_file import convert_gguf, embedded_gguf

        file = embedded_gguf()
        folder = convert_gguf(file, cache / "models")
        # Out of the folder: reading the tokenizer of a GGUF takes 7 CPU s, in every process.
        # The folder is named after the digest of what it was made from.
        return _described(name, folder, load_tokenizer(folder), folder.name)
    folder = Path(name).expanduser().absolute()
    if not folder.is_dir():
        raise DatasetMissingError(
            f"no model directory {folder}; give a Hugging Face directory, or {EMBEDDED}"
        )
    has_tokenizer = (folder / "tokenizer.json").is_file()
    tokenizer = load_tokenizer(folder) if has_tokenizer else None
    return _described(name, folder, tokenizer, _fingerprint(folder, cache / "fingerprints.json"))


def _described(
    name: str, folder: Path, tokenizer: Tokenizer | None, fingerprint: str
) -> LocalModel:
    try:
        return LocalModel(name, folder, tokenizer, fingerprint, read_config(folder))
    except UnsupportedModelError as error:
        context = _named_context(folder)
        return LocalModel(name, folder, tokenizer, fingerprint, None, str(error), context)


def _named_context(folder: Path) -> int | None:
    """Read the context out of a `config.json` of any architecture."""
    raw = json.loads((folder / "config.json").read_text())
    inner = raw.get("text_config")
    for values in (raw, inner if isinstance(inner, dict) else {}):
        for name in ("max_position_embeddings", "n_positions"):
            if isinstance(values.get(name), int) and values[name] > 0:
                return int(values[name])
    return None


def _fingerprint(folder: Path, known: Path) -> str:
    """Digest of a directory's files; one that has not changed is not read again."""
    try:
        seen: dict[str, str] = orjson.loads(known.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        seen = {}
    state, found = hashlib.sha256(), {}
    for file in sorted({file for pattern in _WEIGHTS for file in folder.glob(pattern)}):
        stat = file.stat()
        mark = f"{file}:{stat.st_size}:{stat.st_mtime_ns}"
        if mark not in seen:
            with file.open("rb") as opened:
                found[mark] = hashlib.file_digest(opened, "sha256").hexdigest()
        state.update(f"{file.name}={seen.get(mark) or found[mark]};".encode())
    if found:
        known.parent.mkdir(parents=True, exist_ok=True)
        draft = known.with_suffix(f".{os.getpid()}")
        draft.write_bytes(orjson.dumps({**seen, **found}))
        os.replace(draft, known)
    return state.hexdigest()[:32]

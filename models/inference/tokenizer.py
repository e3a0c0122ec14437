"""A model's tokenizer and chat template, from a Hugging Face folder or a GGUF file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from models.errors import DatasetMissingError, DatasetUnreadableError
from models.inference.template import ChatTemplate

# GGUF's token types (llama.cpp, `llama_token_type`).
_CONTROL, _USER_DEFINED = 3, 4


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back.

    Attributes:
        backend: The `tokenizers` object.
        template: Chat template, or None for a model without one.
        eos_ids: Tokens that end an output.
        context_tokens: The model's context, None if the files do not say.
    """

    backend: tokenizers.Tokenizer
    template: ChatTemplate | None = None
    eos_ids: tuple[int, ...] = ()
    context_tokens: int | None = None
    source: str = field(default="", compare=False)

    @property
    def vocabulary(self) -> int:
        """Ids are below this."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @cached_property
    def digest(self) -> str:
        """sha256 over tokenizer and chat template."""
        hasher = hashlib.sha256(self.backend.to_str().encode())
        hasher.update(self.template.source.encode() if self.template else b"")
        return hasher.hexdigest()

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """Return the ids of each text.

        Args:
            texts: Any number.
            special: Add what the model puts around a text; off after a chat template, which
                has put it there.
        """
        found = self.backend.encode_batch_fast(list(texts), add_special_tokens=special)
        return [encoding.ids for encoding in found]

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Return the text of ids."""
        return str(self.backend.decode(list(ids), skip_special_tokens=skip_special))


def load_tokenizer(path: Path) -> Tokenizer:
    """Load a tokenizer.

    Args:
        path: A folder with `tokenizer.json` (and `tokenizer_config.json`,
            `chat_template.jinja`, `generation_config.json`, `config.json`), or a GGUF file.

    Raises:
        DatasetMissingError: No such folder or file.
        DatasetUnreadableError: Files cannot be parsed, or hold a tokenizer that we do not know.
    """
    if path.is_dir():
        return _from_folder(path)
    if not path.is_file():
        raise DatasetMissingError(
            f"no tokenizer at {path}; give a folder with tokenizer.json or a GGUF file"
        )
    return _from_gguf(path)


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write a tokenizer and its template as a Hugging Face folder has them."""
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    template = tokenizer.template
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": tokenizer.context_tokens,
        **(template.special if template else {}),
        **({"chat_template": template.source} if template else {}),
    }
    (folder / "tokenizer_config.json").write_bytes(
        orjson.dumps(settings, option=orjson.OPT_INDENT_2)
    )


def _from_folder(folder: Path) -> Tokenizer:
    try:
        backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception as error:  # `tokenizers` raises nothing narrower
        kind = (
            DatasetUnreadableError if (folder / "tokenizer.json").is_file() else DatasetMissingError
        )
        raise kind(f"{folder}/tokenizer.json cannot be loaded: {error}") from None
    settings = _json(folder / "tokenizer_config.json")
    template = settings.get("chat_template")
    if isinstance(template, list):
        named = {item.get("name"): item.get("template") for item in template}
        template = named.get("default")
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    special = {
        name: _content(settings.get(name)) for name in ("bos_token", "eos_token", "pad_token")
    }
    model = _json(folder / "config.json")
    eos = _json(folder / "generation_config.json").get("eos_token_id", model.get("eos_token_id"))
    if eos is None and special["eos_token"]:
        eos = backend.token_to_id(special["eos_token"])
    eos_ids = tuple(eos) if isinstance(eos, list) else () if eos is None else (int(eos),)
    return Tokenizer(
        backend=_bare(backend),
        template=ChatTemplate(template, special) if template else None,
        eos_ids=eos_ids,
        context_tokens=model.get("max_position_embeddings"),
        source=str(folder),
    )


def _from_gguf(path: Path) -> Tokenizer:
    import gguf

    try:
        fields = gguf.GGUFReader(path).fields
    except (ValueError, IndexError, OSError) as error:
        raise DatasetUnreadableError(f"{path} is no readable GGUF file: {error}") from None

    def value(name: str, default: Any = None) -> Any:
        return fields[name].contents() if name in fields else default

    kind = value("tokenizer.ggml.model")
    if kind != "gpt2":
        raise DatasetUnreadableError(
            f"{path} holds a tokenizer of kind {kind!r}; only byte-level BPE ('gpt2') is read "
            "from GGUF, so give a folder with tokenizer.json instead"
        )
    tokens = value("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in value("tokenizer.ggml.merges")]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, fuse_unk=False))
    # As transformers reads this file, so that every engine gets the same ids. llama.cpp splits
    # digits first for some models, which should tell in runs of spaces before digits.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    backend.decoder = decoders.ByteLevel()
    types = value("tokenizer.ggml.token_type", [])
    marked = [token for token, mark in zip(tokens, types, strict=False) if mark == _CONTROL]
    backend.add_special_tokens([AddedToken(token, normalized=False) for token in marked])
    named = [token for token, mark in zip(tokens, types, strict=False) if mark == _USER_DEFINED]
    backend.add_tokens([AddedToken(token, normalized=False) for token in named])
    special = {}
    for name in ("bos", "eos", "unknown", "padding"):
        number = value(f"tokenizer.ggml.{name}_token_id")
        key = {"unknown": "unk", "padding": "pad"}.get(name, name) + "_token"
        special[key] = None if number is None else tokens[number]
    template, eos = value("tokenizer.chat_template"), value("tokenizer.ggml.eos_token_id")
    return Tokenizer(
        backend=backend,
        template=ChatTemplate(template, special) if template else None,
        eos_ids=() if eos is None else (int(eos),),
        context_tokens=value(f"{value('general.architecture')}.context_length"),
        source=str(path),
    )


def _bare(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Drop truncation and padding that a file may carry: lengths are our business."""
    backend.no_truncation()
    backend.no_padding()
    return backend


def _content(token: Any) -> str | None:
    return token.get("content") if isinstance(token, dict) else token


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise DatasetUnreadableError(f"{path} is not JSON: {error}") from None
    return found if isinstance(found, dict) else {}

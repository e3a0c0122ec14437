"""Requests become a token table and a row table on disk, in batches, cached by content."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import orjson

from models.inference.config import TooLong
from models.inference.readers import is_parquet, read_requests
from models.inference.requests import Request, RowError
from models.inference.rows import RowTable, RowWriter
from models.inference.template import TemplateInputError
from models.inference.token_table import TokenTable, TokenWriter, dtype_for
from models.inference.tokenizer import Tokenizer

ERRORS = "errors.jsonl"
_BATCH = 1_024
# Part of every cache key: raise it when what is written changes.
_FORMAT = 2


@dataclass(frozen=True)
class Limits:
    """What a prompt may be.

    Attributes:
        context_tokens: The model's context: prompt and output.
        vocabulary: Token ids are below this.
        too_long: What becomes of a prompt that leaves no room for its output.
        default_max_tokens: For rows that do not say, as far as there is room.
    """

    context_tokens: int
    vocabulary: int
    too_long: TooLong = "error"
    default_max_tokens: int = 256


@dataclass(frozen=True)
class JobInput:
    """A tokenised job on disk.

    Attributes:
        folder: Where it lies.
        prompts: Token table of the good rows.
        rows: Their ids and parameters, in the same order.
        n_errors: Rows that failed; they are in `errors.jsonl`.
    """

    folder: Path
    prompts: TokenTable
    rows: RowTable
    n_errors: int

    def errors(self) -> Iterator[RowError]:
        """Yield the rows that failed, in the order of the input."""
        with (self.folder / ERRORS).open("rb") as file:
            for line in file:
                yield RowError.from_openai(orjson.loads(line))


def tokenize_file(path: Path, tokenizer: Tokenizer | None, limits: Limits, cache: Path) -> JobInput:
    """Read and tokenise a file, or find it done: the key is content, not name or time.

    Args:
        path: JSONL or Parquet, see `read_requests`.
        tokenizer: None if all rows bring token ids.
        limits: Context, vocabulary, and what happens to long prompts.
        cache: Folder of all tokenised jobs.

    Raises:
        DatasetMissingError: The file does not exist.
        DatasetUnreadableError: It is no file, cannot be opened, or is packed.
    """
    hasher = hashlib.sha256(orjson.dumps([_FORMAT, is_parquet(path), asdict(limits)]))
    hasher.update((tokenizer.digest if tokenizer else "").encode())
    with path.open("rb") as file:
        hasher.update(hashlib.file_digest(file, "sha256").digest())
    folder = cache / hasher.hexdigest()[:32]
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=cache))
        try:
            tokenize_requests(read_requests(path), tokenizer, limits, draft)
            try:
                os.replace(draft, folder)
            except OSError:
                # Another process was faster: its folder has the same content.
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return open_job(folder)


def open_job(folder: Path) -> JobInput:
    """Open a tokenised job."""
    with (folder / ERRORS).open("rb") as file:
        n_errors = sum(1 for _ in file)
    return JobInput(folder, TokenTable.open(folder), RowTable.open(folder), n_errors)


def tokenize_requests(
    source: Iterable[Request | RowError],
    tokenizer: Tokenizer | None,
    limits: Limits,
    folder: Path,
) -> JobInput:
    """Tokenise a stream into a folder; a row that cannot be used becomes an error, no more."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = iter(source)
    with (
        TokenWriter(folder, dtype_for(limits.vocabulary)) as tokens,
        RowWriter(folder) as rows,
        (folder / ERRORS).open("wb") as errors,
    ):
        while batch := list(islice(stream, _BATCH)):
            found = _encode(batch, tokenizer)
            for item in batch:
                ids = found.get(item.row)
                outcome = item if isinstance(item, RowError) else _fit(item, ids, limits)
                if isinstance(outcome, RowError):
                    line = orjson.dumps(outcome.to_openai(), default=str)
                    errors.write(line + b"\n")
                else:
                    kept, max_tokens = outcome
                    tokens.add(np.asarray(kept, tokens.dtype), [len(kept)])
                    assert isinstance(item, Request)
                    rows.add(item, max_tokens)
    return open_job(folder)


def _encode(
    batch: list[Request | RowError], tokenizer: Tokenizer | None
) -> dict[int, list[int] | RowError]:
    """Return the ids, or the error, of every request in the batch."""
    found: dict[int, list[int] | RowError] = {}
    texts: dict[bool, list[tuple[int, str]]] = {True: [], False: []}
    for item in batch:
        if isinstance(item, RowError):
            continue
        if item.token_ids is not None:
            found[item.row] = list(item.token_ids)
            continue
        if tokenizer is None or (item.messages is not None and tokenizer.template is None):
            what = "tokenizer" if tokenizer is None else "chat template"
            param = "messages" if item.messages is not None else "prompt"
            found[item.row] = RowError(
                *(item.row, "invalid_template_input"),
                f"the model has no {what}; give token_ids instead of {param}",
                *(param, item.custom_id),
            )
            continue
        try:
            if item.messages is not None:
                assert tokenizer.template is not None
                text = tokenizer.template.render(item.messages)
            else:
                text = item.prompt or ""
            # Lone surrogates are no text; the tokenizer would raise for the whole batch.
            text.encode()
        except (TemplateInputError, UnicodeEncodeError) as error:
            found[item.row] = RowError(
                *(item.row, "invalid_template_input"),
                f"the prompt cannot be rendered: {error}",
                *("messages" if item.messages is not None else "prompt", item.custom_id),
            )
            continue
        texts[item.messages is None].append((item.row, text))
    for special, rows in texts.items():
        if rows and tokenizer is not None:
            ids = tokenizer.encode([text for _, text in rows], special)
            found.update(zip([row for row, _ in rows], ids, strict=True))
    return found


def _fit(
    request: Request, ids: list[int] | RowError | None, limits: Limits
) -> tuple[list[int], int] | RowError:
    """Return the ids that will run and how many tokens may follow them."""
    assert ids is not None
    if isinstance(ids, RowError):
        return ids
    if not ids:
        message = "the prompt has no tokens; it needs one at least"
        return RowError(request.row, "empty_prompt", message, None, request.custom_id)
    if max(ids) >= limits.vocabulary:
        return RowError(
            *(request.row, "unknown_token_id"),
            f"token id {max(ids)} is not in the vocabulary of {limits.vocabulary} tokens",
            *("token_ids", request.custom_id),
        )
    stops = request.sampling.stop_token_ids
    if stops and max(stops) >= limits.vocabulary:
        return RowError(
            *(request.row, "unknown_token_id"),
            f"stop token id {max(stops)} is not in the vocabulary of {limits.vocabulary} tokens",
            *("stop_token_ids", request.custom_id),
        )
    asked = request.sampling.max_tokens
    room = limits.context_tokens - (asked if asked is not None else 1)
    if len(ids) > room:
        if limits.too_long == "error" or room < 1:
            return RowError(
                *(request.row, "context_length_exceeded"),
                f"the prompt has {len(ids)} tokens and asks for {asked or 1} more, the context "
                f"holds {limits.context_tokens}; shorten it, or choose to truncate",
                *("max_tokens" if room < 1 else "messages" if request.messages else "prompt",),
                request.custom_id,
            )
        ids = ids[-room:] if limits.too_long == "truncate-left" else ids[:room]
    left = limits.context_tokens - len(ids)
    return ids, asked if asked is not None else min(limits.default_max_tokens, left)

"""Request bodies by prompt, as a server takes them: written once, read in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from models.inference.parse import ENDPOINTS
from models.inference.readers import read_requests
from models.inference.requests import Request, Sampling
from models.inference.tokens import JobInput

TEXTS, OFFSETS = "bodies.jsonl", "offsets.npy"


def write_bodies(source: Path, job: JobInput, folder: Path) -> None:
    """Write path and text of every good row, in the order of the token table."""
    folder.mkdir(parents=True, exist_ok=True)
    offsets, at, prompt, n_prompts = [0], 0, 0, len(job.rows)
    rows = job.rows.numbers("row")
    with (folder / TEXTS).open("wb") as file:
        for item in read_requests(source):
            if prompt == n_prompts or item.row != rows[prompt] or not isinstance(item, Request):
                continue  # rows that failed while they were tokenised
            at += file.write(orjson.dumps(_said(item)))
            offsets.append(at)
            prompt += 1
    np.save(folder / OFFSETS, np.array(offsets, np.int64))


def _said(request: Request) -> dict[str, Any]:
    if request.messages is not None:
        return {"url": ENDPOINTS[0], "messages": request.messages}
    prompt = request.prompt if request.prompt is not None else request.token_ids
    return {"url": ENDPOINTS[1], "prompt": prompt}


class Bodies:
    """Reads what `write_bodies` wrote."""

    def __init__(self, folder: Path) -> None:
        self._offsets = np.load(folder / OFFSETS)
        self._file = (folder / TEXTS).open("rb")

    def read(self, prompt: int, sampling: Sampling, model: str) -> tuple[str, dict[str, Any]]:
        """Return the path below a server's `/v1` and the body of a prompt's request."""
        begin, end = (int(offset) for offset in self._offsets[prompt : prompt + 2])
        self._file.seek(begin)
        said = orjson.loads(self._file.read(end - begin))
        path = said.pop("url").removeprefix("/v1")
        return path, {"model": model, **said, **_options(sampling, path == "/chat/completions")}

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _options(sampling: Sampling, is_chat: bool) -> dict[str, Any]:
    """Say what differs from OpenAI's defaults; names beyond them are vLLM's."""
    usual = Sampling()
    fields: dict[str, Any] = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
    }
    for name in ("top_p", "top_k", "min_p", "n", "presence_penalty", "frequency_penalty"):
        if getattr(sampling, name) != getattr(usual, name):
            fields[name] = getattr(sampling, name)
    for name in ("repetition_penalty", "ignore_eos"):
        if getattr(sampling, name) != getattr(usual, name):
            fields[name] = getattr(sampling, name)
    for name in ("stop", "stop_token_ids"):
        if getattr(sampling, name):
            fields[name] = list(getattr(sampling, name))
    if sampling.seed is not None and not sampling.is_greedy:
        fields["seed"] = sampling.seed
    if sampling.logprobs is not None:
        fields |= (
            {"logprobs": True, "top_logprobs": sampling.logprobs}
            if is_chat
            else {"logprobs": sampling.logprobs}
        )
    if sampling.schema is not None:
        schema = {"name": "answer", "schema": orjson.loads(sampling.schema)}
        fields["response_format"] = {"type": "json_schema", "json_schema": schema}
    if sampling.regex is not None or sampling.grammar is not None:
        kind = "regex" if sampling.regex is not None else "grammar"
        fields["structured_outputs"] = {kind: sampling.regex or sampling.grammar}
    return fields

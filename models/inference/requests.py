"""Requests, results and row errors of a batch: frozen values, no engine in sight."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from typing import Any, Literal

import orjson

FinishReason = Literal["stop", "length"]
Endpoint = Literal["/v1/chat/completions", "/v1/completions"]

# Error codes, as OpenAI's error objects name them where they have a name.
ErrorCode = Literal[
    "invalid_json",
    "invalid_utf8",
    "missing_required_parameter",
    "duplicate_custom_id",
    "invalid_type",
    "invalid_value",
    "unsupported_parameter",
    "unsupported_endpoint",
    "empty_prompt",
    "context_length_exceeded",
    "unknown_token_id",
    "invalid_json_schema",
    "invalid_template_input",
    "kv_budget_exceeded",
    "invalid_logits",
    "engine_failure",
    "content_filter",
    "request_refused",
    "server_error",
]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a request's tokens are chosen; defaults are OpenAI's, `max_tokens` apart.

    Attributes:
        max_tokens: Most tokens to emit; None: what the reader's limits say.
        temperature: 0 is greedy.
        top_p: Share of probability to keep, in (0, 1].
        top_k: Tokens to keep; 0 keeps all.
        min_p: Least probability relative to the likeliest token, in [0, 1].
        stop: Texts that end the output; they are not part of it.
        stop_token_ids: Tokens that end the output, besides the model's own.
        seed: Seed of this request's draws; None: derived from the job's seed and the row.
        n: Outputs to draw.
        logprobs: Likeliest tokens to report per position; None: none at all, 0: the token.
        presence_penalty: Subtracted from the logits of tokens that were emitted.
        frequency_penalty: The same, per occurrence.
        repetition_penalty: Divides positive logits of seen tokens, multiplies negative ones.
        ignore_eos: Emit `max_tokens` whatever comes (speed measurements).
        schema: JSON schema (canonical JSON text) that the output must fit.
        regex: Regular expression that the output must match.
        grammar: EBNF grammar that the output must match.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    seed: int | None = None
    n: int = 1
    logprobs: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    ignore_eos: bool = False
    schema: str | None = None
    regex: str | None = None
    grammar: str | None = None

    @property
    def is_greedy(self) -> bool:
        """Whether equal prompts give equal outputs: no draw is made."""
        return self.temperature == 0

    def digest(self) -> str:
        """Hash of all values; the seed of a greedy request plays no part. 32 hex digits."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        if self.is_greedy:
            values["seed"] = None
        return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]

    def to_json(self) -> bytes:
        """Return the values that differ from the defaults, as a JSON object."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        default = {item.name: item.default for item in fields(self)}
        kept = {name: value for name, value in values.items() if value != default[name]}
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, text: bytes | str) -> Sampling:
        """Read what `to_json` wrote."""
        values = orjson.loads(text)
        for name in ("stop", "stop_token_ids"):
            if name in values:
                values[name] = tuple(values[name])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Request:
    """One input row: a conversation, a text or token ids; exactly one of the three.

    Attributes:
        row: Row of the input file, from 0; blank lines count.
        custom_id: The user's name of the row, unique in the file.
        sampling: How to choose tokens.
        messages: Conversation, for the chat template.
        prompt: Text, used as it is.
        token_ids: Ids, used as they are.
        tenant: Rows of different tenants share no prefix and no result.
        endpoint: Shape of the answer that the user expects.
    """

    row: int
    custom_id: str
    sampling: Sampling
    messages: tuple[dict[str, Any], ...] | None = None
    prompt: str | None = None
    token_ids: tuple[int, ...] | None = None
    tenant: str = ""
    endpoint: Endpoint = "/v1/completions"


@dataclass(frozen=True, slots=True)
class RowError:
    """Why a row has no result: an OpenAI error object with the row's number.

    Attributes:
        row: Row of the input file, from 0.
        code: What went wrong, for programs.
        message: What was asked, what was found, the way out.
        param: The parameter at fault.
        custom_id: The user's name of the row where it could be read.
        type: `invalid_request_error`, or `server_error` if the row is not to blame.
    """

    row: int
    code: ErrorCode
    message: str
    param: str | None = None
    custom_id: str | None = None
    type: Literal["invalid_request_error", "server_error"] = "invalid_request_error"

    def to_openai(self) -> dict[str, Any]:
        """Return a line of an OpenAI Batch error file, the row beside it."""
        return {
            "custom_id": self.custom_id,
            "row": self.row,
            "response": None,
            "error": {
                "type": self.type,
                "code": self.code,
                "message": self.message,
                "param": self.param,
            },
        }

    @classmethod
    def from_openai(cls, line: dict[str, Any]) -> RowError:
        """Read what `to_openai` wrote."""
        return cls(row=line["row"], custom_id=line["custom_id"], **line["error"])


@dataclass(frozen=True, slots=True)
class Choice:
    """One output of a row.

    Attributes:
        token_ids: Tokens as emitted, end token included.
        text: Their text, without end token and stop text.
        finish_reason: A stop token or text, or `max_tokens`.
        logprobs: Log-probability of each token, if asked for.
        top_logprobs: Per position the likeliest tokens with theirs, if asked for.
    """

    token_ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    logprobs: tuple[float, ...] | None = None
    top_logprobs: tuple[tuple[tuple[int, float], ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class RowResult:
    """What a row gave: as many choices as its `n`.

    Attributes:
        row: Row of the input file, from 0.
        custom_id: The user's name of the row.
        choices: The outputs.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: Of them, tokens that another row's computation gave.
        output_tokens: Tokens of all choices; a server counts them, but may not name them.
        source_row: Row that ran in its stead (equal greedy prompts run once), or None.
    """

    row: int
    custom_id: str
    choices: tuple[Choice, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    output_tokens: int = 0
    source_row: int | None = None

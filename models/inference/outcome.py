"""What running a row gave, as the journal keeps it and as OpenAI's Batch format tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import orjson

from models.inference.requests import Choice, ErrorCode, RowError, RowResult

ErrorType = Literal["invalid_request_error", "server_error"]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a row has no result; the fields of an OpenAI error object."""

    code: ErrorCode
    message: str
    param: str | None = None
    type: ErrorType = "server_error"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a row gave, whichever input row it belongs to.

    Attributes:
        choices: Its outputs; empty if it failed.
        failure: Why it failed, or None.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: Of them, tokens that another row's computation gave.
        counted_tokens: Tokens of all choices as a server counted them; None: those named.
    """

    choices: tuple[Choice, ...] = ()
    failure: Failure | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    counted_tokens: int | None = None

    @property
    def output_tokens(self) -> int:
        """Tokens of all choices."""
        if self.counted_tokens is not None:
            return self.counted_tokens
        return sum(len(choice.token_ids) for choice in self.choices)


def encode_outcome(outcome: Finished) -> bytes:
    """Write an outcome as a record's body: a letter for its kind, then JSON."""
    if outcome.failure is not None:
        failure = outcome.failure
        said = [failure.code, failure.message, failure.param, failure.type]
        return b"E" + orjson.dumps([outcome.prompt_tokens, *said])
    choices = [
        [c.token_ids, c.text, c.finish_reason, c.logprobs, c.top_logprobs] for c in outcome.choices
    ]
    counts = (outcome.prompt_tokens, outcome.cached_tokens, outcome.counted_tokens)
    return b"R" + orjson.dumps([*counts, choices])


def is_error(body: bytes) -> bool:
    """Whether a record's body is a failure."""
    return body[:1] == b"E"


def decode_outcome(body: bytes) -> Finished:
    """Read what `encode_outcome` wrote."""
    values = orjson.loads(body[1:])
    if is_error(body):
        return Finished(failure=Failure(*values[1:]), prompt_tokens=values[0])
    *counts, choices = values
    return Finished(tuple(_choice(*choice) for choice in choices), None, *counts)


def _choice(ids: list[int], text: str, reason: Any, logprobs: Any, tops: Any) -> Choice:
    return Choice(
        tuple(ids),
        text,
        reason,
        None if logprobs is None else tuple(logprobs),
        None if tops is None else tuple(tuple((t, p) for t, p in place) for place in tops),
    )


def row_of(outcome: Finished, row: int, custom_id: str) -> RowResult | RowError:
    """Give an outcome to an input row."""
    if outcome.failure is not None:
        failure = outcome.failure
        return RowError(row, failure.code, failure.message, failure.param, custom_id, failure.type)
    tokens = (outcome.prompt_tokens, outcome.cached_tokens, outcome.output_tokens)
    return RowResult(row, custom_id, outcome.choices, *tokens)


def openai_line(result: RowResult, endpoint: str, model: str) -> dict[str, Any]:
    """Return a result as a line of OpenAI's Batch output, the row beside it."""
    is_chat = endpoint == "/v1/chat/completions"
    n_output = result.output_tokens
    body = {
        "id": f"cmpl-{result.row}",
        "object": "chat.completion" if is_chat else "text_completion",
        # Typed clients insist on it; the time itself would make equal runs differ.
        "created": 0,
        "model": model,
        "choices": [_openai_choice(i, c, is_chat) for i, c in enumerate(result.choices)],
        "usage": {
            "prompt_tokens": result.prompt_tokens,
            "completion_tokens": n_output,
            "total_tokens": result.prompt_tokens + n_output,
            "prompt_tokens_details": {"cached_tokens": result.cached_tokens},
        },
    }
    return {
        "id": f"row-{result.row}",
        "custom_id": result.custom_id,
        "row": result.row,
        "response": {"status_code": 200, "request_id": f"row-{result.row}", "body": body},
        "error": None,
    }


def _openai_choice(index: int, choice: Choice, is_chat: bool) -> dict[str, Any]:
    line: dict[str, Any] = {"index": index, "finish_reason": choice.finish_reason}
    if is_chat:
        line["message"] = {"role": "assistant", "content": choice.text}
    else:
        line["text"] = choice.text
    if choice.logprobs is not None:
        line["logprobs"] = {
            "tokens": choice.token_ids,
            "token_logprobs": choice.logprobs,
            "top_logprobs": choice.top_logprobs,
        }
    return line

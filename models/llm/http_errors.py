"""What an OpenAI-compatible server's refusal means, as one of our error types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from models.llm.errors import (
    AuthenticationError,
    BadRequestError,
    ContentFilterError,
    ContextLengthError,
    LanguageModelError,
    ModelNotFoundError,
    QuotaError,
    RateLimitError,
    ReplyTimeoutError,
    ServerError,
)
from models.llm.retry import retry_after_s

# Words of OpenAI, Azure, vLLM, llama.cpp, Anthropic and Google in their refusals.
_CONTEXT = (
    "context_length_exceeded",
    "maximum context length",
    "context length",
    "context window",
    "prompt is too long",
    "input is too long",
    "max_model_len",
    "exceed the available context",
    "exceeds the maximum number of tokens",
)
_FILTER = ("content_filter", "content policy", "content_policy", "responsible ai", "safety system")
_QUOTA = ("insufficient_quota", "exceeded your current quota", "billing", "credit balance")

_BY_STATUS: dict[int, tuple[type[LanguageModelError], str]] = {
    401: (AuthenticationError, "check the key of this host (LOOM_LLM_KEY_VARIABLES)"),
    403: (AuthenticationError, "this key may not use the model; ask for access"),
    404: (ModelNotFoundError, "check the model's name and that the address ends like .../v1"),
    408: (ReplyTimeoutError, "ask again"),
    425: (ServerError, "ask again"),
    429: (RateLimitError, "wait, or lower the concurrency"),
}


def error_of(
    status: int, headers: Mapping[str, str], body: bytes, model: str
) -> LanguageModelError:
    """Translate an answer that is no success.

    Args:
        status: HTTP status; 200 where the server sent an error in a success or a stream.
        headers: Of the answer, names in lower case.
        body: Of the answer.
        model: Its name, for the message.
    """
    said, code = _message(body)
    if status == 200:
        # In a stream the status is gone already; the code often is it.
        status = int(code) if code.isdigit() else 500
    words = f"{code} {said}".lower()
    kind, way_out = _BY_STATUS.get(status, (None, ""))
    if kind is None and status >= 500:
        kind, way_out = ServerError, "ask again, or look at the server's log"
    elif kind is None and 300 <= status < 400:
        kind, way_out = BadRequestError, f"use the address it moved to: {headers.get('location')}"
    elif kind is None:
        kind, way_out = BadRequestError, "mend the request"
    if status in (400, 413, 422) and (status == 413 or any(w in words for w in _CONTEXT)):
        kind, way_out = ContextLengthError, "shorten the prompt, or condense the conversation"
    elif status in (400, 403, 422) and any(word in words for word in _FILTER):
        kind, way_out = ContentFilterError, "the provider refuses this content; change it"
    elif status == 429 and any(word in words for word in _QUOTA):
        kind, way_out = QuotaError, "raise the account's limit, or use another model"
    return kind(
        f"{model} answered {status}: {said[:500] or 'without a reason'}; {way_out}",
        status=status,
        retry_after_s=retry_after_s(headers),
    )


def _message(body: bytes) -> tuple[str, str]:
    """Find the words and the code in an error's body, whatever its shape."""
    try:
        values: Any = orjson.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip(), ""
    error = values.get("error", values) if isinstance(values, dict) else values
    if not isinstance(error, dict):
        return str(error), ""
    said = error.get("message") or error.get("detail") or error
    code = error.get("code") or error.get("type") or ""
    return str(said), str(code)

"""One input line becomes a `Request` or a `RowError`: every field checked, none guessed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

import orjson

from models.inference.parse_sampling import (
    NUMBERS,
    RowFaultError,
    kind_of,
    sampling_of,
    shown,
    token_ids_of,
)
from models.inference.requests import Endpoint, Request, RowError

ENDPOINTS: tuple[Endpoint, ...] = get_args(Endpoint)
# Said by clients, without effect on tokens.
_IGNORED = {"model", "user", "metadata", "store", "service_tier", "group", "safety_identifier"}
# Harmless at these values, unsupported at others.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "stream": (False, None),
    "echo": (False, None),
    "best_of": (1, None),
    "suffix": ("", None),
    "logit_bias": ({}, None),
    "tools": ([], None),
    "tool_choice": ("none", None),
    "parallel_tool_calls": (False, True, None),
}
_STRUCTURE = {"response_format", "structured_outputs", "guided_json", "guided_regex"} | {
    "guided_grammar",
    "schema",
    "regex",
    "grammar",
}
_TEXT = {"messages", "prompt", "token_ids", "prompt_token_ids"}
_OTHER = {"stop", "stop_token_ids", "logprobs", "top_logprobs", "ignore_eos", "tenant"}
_KNOWN = _TEXT | _OTHER | _STRUCTURE | set(NUMBERS) | {"max_completion_tokens"} | set(_NEUTRAL)
_WRAPPER = {"custom_id", "method", "url", "body", "tenant", "group"}


def parse_line(row: int, line: bytes) -> Request | RowError:
    """Parse one JSON line of a batch file; see `parse_row`."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as bad:
            message = f"the line is not UTF-8 (byte {bad.start}); write the file as UTF-8"
            return RowError(row, "invalid_utf8", message)
        message = f"the line is not JSON ({error}); write one JSON object per line"
        return RowError(row, "invalid_json", message)
    return parse_row(row, value)


def parse_row(row: int, value: object) -> Request | RowError:
    """Parse an OpenAI Batch line, or a plain one with the body's fields at the top.

    Args:
        row: Its number in the input, from 0.
        value: `{"custom_id", "method", "url", "body": {...}}`, or `{"custom_id", "messages" |
            "prompt" | "token_ids", "max_tokens", ...}`.
    """
    custom_id = None
    try:
        if not isinstance(value, Mapping):
            raise RowFaultError("invalid_type", f"a row is a JSON object, got {kind_of(value)}")
        custom_id = _custom_id(value)
        if value.keys() & {"body", "method", "url"}:
            return _parse_batch(row, custom_id, value)
        return _parse_body(
            row, custom_id, {k: v for k, v in value.items() if k != "custom_id"}, None
        )
    except RowFaultError as fault:
        return RowError(row, fault.code, fault.message, fault.param, custom_id)


def _custom_id(value: Mapping[str, Any]) -> str:
    found = value.get("custom_id")
    if found is None:
        raise RowFaultError(
            "missing_required_parameter", "the row has no custom_id; give each row one", "custom_id"
        )
    if not isinstance(found, str) or not found:
        raise RowFaultError(
            "invalid_type",
            f"custom_id is a text, not empty, got {shown(found)}",
            "custom_id",
        )
    return found


def _parse_batch(row: int, custom_id: str, value: Mapping[str, Any]) -> Request:
    _refuse_unknown(value, _WRAPPER)
    if "body" not in value:
        raise RowFaultError(
            "missing_required_parameter", "the row has no body; its parameters go there", "body"
        )
    method, url, body = value.get("method", "POST"), value.get("url"), value["body"]
    if method != "POST":
        raise RowFaultError("invalid_value", f"method must be POST, got {shown(method)}", "method")
    if url is None:
        raise RowFaultError(
            "missing_required_parameter",
            f"the row has no url: {' or '.join(ENDPOINTS)}",
            "url",
        )
    if url not in ENDPOINTS:
        raise RowFaultError(
            "unsupported_endpoint", f"url {shown(url)} is none of {', '.join(ENDPOINTS)}", "url"
        )
    if not isinstance(body, Mapping):
        raise RowFaultError("invalid_type", f"body is a JSON object, got {kind_of(body)}", "body")
    body = dict(body)
    if value.get("tenant") is not None:
        body["tenant"] = value["tenant"]
    return _parse_body(row, custom_id, body, url)


def _parse_body(
    row: int, custom_id: str, body: Mapping[str, Any], endpoint: Endpoint | None
) -> Request:
    _refuse_unknown(body, _KNOWN | _IGNORED)
    for name, allowed in _NEUTRAL.items():
        if name in body and body[name] not in allowed:
            raise RowFaultError(
                "unsupported_parameter",
                f"'{name}' = {shown(body[name])} is not supported; leave it out",
                name,
            )
    given = [name for name in sorted(_TEXT) if body.get(name) is not None]
    if not given:
        wanted = "messages" if endpoint == ENDPOINTS[0] else "prompt, token_ids or messages"
        raise RowFaultError(
            "missing_required_parameter", f"the row has no {wanted}", wanted.split(",")[0]
        )
    if len(given) > 1:
        raise RowFaultError(
            "invalid_value", f"give one of {', '.join(given)}, not {len(given)}", given[0]
        )
    name, content = given[0], body[given[0]]
    if (name == "messages") != (endpoint == ENDPOINTS[0]) and endpoint is not None:
        raise RowFaultError("unsupported_parameter", f"{endpoint} takes no '{name}'", name)
    tenant = body.get("tenant") or ""
    if not isinstance(tenant, str):
        raise RowFaultError("invalid_type", f"tenant is a text, got {shown(tenant)}", "tenant")
    messages, prompt, token_ids = None, None, None
    if name == "messages":
        messages = _messages(content)
    elif isinstance(content, str) and name == "prompt":
        if not content:
            raise RowFaultError(
                "empty_prompt", "the prompt is empty; it needs a token at least", name
            )
        prompt = content
    elif name == "prompt" and isinstance(content, list) and content and isinstance(content[0], str):
        raise RowFaultError("unsupported_parameter", "one prompt per row; make a row of each", name)
    else:
        token_ids = token_ids_of(name, content)
    return Request(
        row=row,
        custom_id=custom_id,
        sampling=sampling_of(body),
        messages=messages,
        prompt=prompt,
        token_ids=token_ids,
        tenant=tenant,
        endpoint=ENDPOINTS[0] if name == "messages" else ENDPOINTS[1],
    )


def _refuse_unknown(value: Mapping[str, Any], known: set[str]) -> None:
    for name in value:
        if name not in known:
            near = get_close_matches(str(name), known, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise RowFaultError(
                "unsupported_parameter", f"'{name}' is not supported{hint}", str(name)
            )


def _messages(value: object) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise RowFaultError("invalid_type", f"messages is a list, got {kind_of(value)}", "messages")
    if not value:
        raise RowFaultError("empty_prompt", "messages is empty; give one at least", "messages")
    messages = []
    for place, message in enumerate(value):
        param = f"messages[{place}]"
        if not isinstance(message, Mapping):
            raise RowFaultError(
                "invalid_type", f"{param} is an object, got {kind_of(message)}", param
            )
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or content is None:
            missing = "role" if not isinstance(role, str) else "content"
            raise RowFaultError("missing_required_parameter", f"{param} has no {missing}", param)
        if isinstance(content, list):
            parts = [part if isinstance(part, Mapping) else {} for part in content]
            if any(part.get("type") != "text" for part in parts):
                raise RowFaultError("unsupported_parameter", f"{param}: only text parts", param)
            content = "".join(str(part.get("text", "")) for part in parts)
        if not isinstance(content, str):
            raise RowFaultError(
                "invalid_type", f"{param}.content is a text, got {kind_of(content)}", param
            )
        rest = {k: v for k, v in message.items() if k not in ("role", "content") and v is not None}
        messages.append({"role": role, "content": content, **rest})
    return tuple(messages)

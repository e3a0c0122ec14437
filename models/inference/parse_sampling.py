"""The sampling parameters of one input line, checked: numbers, stops, output form."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from models.inference.requests import ErrorCode, Sampling

# name: type, least, most (None: no limit)
NUMBERS: dict[str, tuple[type, float | None, float | None]] = {
    "max_tokens": (int, 1, 2**31),
    "temperature": (float, 0, 100),
    "top_p": (float, 1e-9, 1),
    "top_k": (int, -1, 2**31),
    "min_p": (float, 0, 1),
    "seed": (int, -(2**63), 2**63 - 1),
    "n": (int, 1, 128),
    "presence_penalty": (float, -2, 2),
    "frequency_penalty": (float, -2, 2),
    "repetition_penalty": (float, 1e-3, 10),
}

# Keywords of a JSON schema whose values are no schemas.
_LITERAL = {"const", "enum", "default", "examples"}


class RowFaultError(Exception):
    """Why a row cannot be used; becomes a `RowError` and never leaves the parser."""

    def __init__(self, code: ErrorCode, message: str, param: str | None = None) -> None:
        self.code, self.message, self.param = code, message, param


def sampling_of(body: Mapping[str, Any]) -> Sampling:
    """Read the parameters of a body whose names were checked.

    Raises:
        RowFaultError: A value has the wrong type or range, or two contradict each other.
    """
    values: dict[str, Any] = {}
    body = dict(body)
    longer = body.pop("max_completion_tokens", None)
    if longer is not None:
        if body.get("max_tokens") not in (None, longer):
            raise RowFaultError(
                "invalid_value",
                "max_tokens and max_completion_tokens differ; give one",
                "max_tokens",
            )
        body["max_tokens"] = longer
    for name, (kind, least, most) in NUMBERS.items():
        if body.get(name) is not None:
            values[name] = _number(name, body[name], kind, least, most)
    values["top_k"] = max(values.get("top_k", 0), 0)
    stop = body.get("stop")
    if stop is not None:
        stop = [stop] if isinstance(stop, str) else stop
        if not isinstance(stop, list) or any(not isinstance(t, str) or not t for t in stop):
            raise RowFaultError(
                "invalid_type", f"stop is a text or a list of texts, got {shown(stop)}", "stop"
            )
        values["stop"] = tuple(stop)
    if body.get("stop_token_ids"):
        values["stop_token_ids"] = token_ids_of("stop_token_ids", body["stop_token_ids"])
    if body.get("ignore_eos") is not None:
        if not isinstance(body["ignore_eos"], bool):
            raise RowFaultError("invalid_type", "ignore_eos is true or false", "ignore_eos")
        values["ignore_eos"] = body["ignore_eos"]
    values["logprobs"] = _logprobs(body)
    values.update(_structure(body))
    return Sampling(**values)


def _logprobs(body: Mapping[str, Any]) -> int | None:
    asked, top = body.get("logprobs"), body.get("top_logprobs")
    if asked is None or asked is False:
        if top:
            raise RowFaultError(
                "invalid_value", "top_logprobs needs logprobs: true", "top_logprobs"
            )
        return None
    if asked is True:
        return int(_number("top_logprobs", top or 0, int, 0, 20))
    return int(_number("logprobs", asked, int, 0, 20))


def _structure(body: Mapping[str, Any]) -> dict[str, str]:
    """Collect the one way in which the output's form is asked for."""
    asked: list[tuple[str, str, Any]] = []
    names = {"schema": "schema", "regex": "regex", "grammar": "grammar"}
    names |= {"guided_json": "schema", "guided_regex": "regex", "guided_grammar": "grammar"}
    asked += [
        (name, kind, body[name]) for name, kind in names.items() if body.get(name) is not None
    ]
    outputs = body.get("structured_outputs")
    if outputs is not None:
        if not isinstance(outputs, Mapping) or set(outputs) - {"json", "regex", "grammar"}:
            message = "structured_outputs takes json, regex or grammar"
            raise RowFaultError("unsupported_parameter", message, "structured_outputs")
        kinds = {"json": "schema", "regex": "regex", "grammar": "grammar"}
        asked += [(f"structured_outputs.{k}", kinds[k], v) for k, v in outputs.items()]
    wanted = body.get("response_format")
    if wanted is not None:
        kind = wanted.get("type") if isinstance(wanted, Mapping) else None
        if kind == "json_object":
            asked.append(("response_format", "schema", {"type": "object"}))
        elif kind == "json_schema":
            holder = wanted.get("json_schema")
            schema = holder.get("schema") if isinstance(holder, Mapping) else None
            if schema is None:
                raise RowFaultError(
                    "missing_required_parameter",
                    "response_format of type json_schema needs json_schema.schema",
                    "response_format",
                )
            asked.append(("response_format.json_schema.schema", "schema", schema))
        elif kind != "text":
            raise RowFaultError(
                "unsupported_parameter", f"response_format type {shown(kind)}", "response_format"
            )
    if len(asked) > 1:
        raise RowFaultError(
            "invalid_value", f"{' and '.join(a[0] for a in asked)}: give one of them", asked[0][0]
        )
    if not asked:
        return {}
    param, kind, value = asked[0]
    if kind == "schema":
        return {"schema": _schema(param, value)}
    if not isinstance(value, str) or not value:
        raise RowFaultError("invalid_type", f"{param} is a text, got {shown(value)}", param)
    if kind == "regex":
        try:
            re.compile(value)
        except re.error as error:
            raise RowFaultError(
                "invalid_value", f"{param} is no regular expression: {error}", param
            ) from None
    return {kind: value}


def _schema(param: str, value: object) -> str:
    from jsonschema import SchemaError  # type: ignore[import-untyped]
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]

    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise RowFaultError(
                "invalid_json_schema", f"{param} is not JSON: {error}", param
            ) from None
    if not isinstance(value, Mapping | bool):
        raise RowFaultError(
            "invalid_json_schema", f"{param} is an object, got {kind_of(value)}", param
        )
    try:
        validator_for(value).check_schema(value)
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path) or "its top"
        raise RowFaultError(
            "invalid_json_schema", f"{param} is no JSON schema: {error.message} (at {place})", param
        ) from None
    except RecursionError:
        raise RowFaultError("invalid_json_schema", f"{param} is nested too deeply", param) from None
    away = _ref_elsewhere(value)
    if away is not None:
        raise RowFaultError(
            "invalid_json_schema",
            f"{param} refers to {shown(away)}, and nothing is fetched; put it below $defs",
            param,
        )
    # Order of keys is kept: a grammar emits properties in it.
    return orjson.dumps(value).decode()


def _ref_elsewhere(schema: object) -> str | None:
    """Return a reference that leads out of a schema: it would allow any value, without a word."""
    left = [schema]
    while left:
        part = left.pop()
        if isinstance(part, list):
            left += part
        elif isinstance(part, Mapping):
            to = part.get("$ref")
            if isinstance(to, str) and not to.startswith("#"):
                return to
            left += [inner for key, inner in part.items() if key not in _LITERAL]
    return None


def token_ids_of(name: str, value: object) -> tuple[int, ...]:
    """Read a list of token ids, one at least, none negative."""
    if not isinstance(value, list):
        raise RowFaultError(
            "invalid_type", f"{name} is a list of token ids, got {kind_of(value)}", name
        )
    if not value:
        raise RowFaultError("empty_prompt", "the prompt has no tokens; it needs one at least", name)
    # Types first, all at once: a loop over ids takes ten times as long as reading them.
    if set(map(type, value)) != {int}:
        wrong = next(token for token in value if type(token) is not int)
        raise RowFaultError("invalid_type", f"{name} holds {shown(wrong)}, not a token id", name)
    if min(value) < 0:
        message = f"{name} holds {min(value)}, no id is negative"
        raise RowFaultError("unknown_token_id", message, name)
    return tuple(value)


def _number(
    name: str, value: object, kind: type, least: float | None, most: float | None
) -> float | int:
    # A column of whole numbers with a gap comes out of pandas as floats.
    if kind is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        what = "a whole number" if kind is int else "a number"
        raise RowFaultError("invalid_type", f"{name} is {what}, got {shown(value)}", name)
    # Parquet can hold NaN, which is in no range and outside of none.
    is_below, is_above = least is not None and value < least, most is not None and value > most
    if is_below or is_above or not math.isfinite(value):
        raise RowFaultError(
            "invalid_value", f"{name} must be in [{least}, {most}], got {shown(value)}", name
        )
    return kind(value)  # type: ignore[no-any-return]


def kind_of(value: object) -> str:
    """Name a JSON value's type."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return names.get(type(value), "null" if value is None else "a number")


def shown(value: object) -> str:
    """Return a value as an error message shows it, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

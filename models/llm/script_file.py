"""Scripts as files: YAML with `replies` or `rules`, or JSONL with one reply per line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.errors import unknown_name
from models.llm import errors
from models.llm.errors import LanguageModelError, ScriptError
from models.llm.messages import ToolCall, canonical_json
from models.llm.reply import Usage
from models.llm.scripted import Line, Rule, ScriptedModel, Turn

_RULE_KEYS = {"match", "purpose", "after_tool", "times"}
_TURN_KEYS = {
    "text",
    "tool_calls",
    "reasoning",
    "finish_reason",
    "usage",
    "delay_s",
    "chunk_s",
    "chunk_chars",
    "cut_after",
    "error",
}
_ERRORS: dict[str, type[LanguageModelError]] = {
    kind.__name__.removesuffix("Error"): kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LanguageModelError)
}


def scripted_model(file: Path) -> ScriptedModel:
    """Read a script file.

    A reply is a text or a mapping: `text`, `tool_calls` (each `name`, `arguments`, `id`),
    `reasoning`, `delay_s`, `chunk_s`, `chunk_chars`, `cut_after`, `finish_reason`, `usage`,
    and `error` (`RateLimit`, or a mapping of `type`, `message`, `retry_after_s`). A rule is a
    reply with `match`, `purpose`, `after_tool` or `times`.

    Raises:
        ScriptError: The file is missing or holds something else.
        UnknownNameError: A key or an error type does not exist.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(
            f"script file {file} cannot be read ({error}); check the path of scripted:FILE"
        ) from None
    values = _load(file, text)
    if set(values) & {"replies", "rules"} == {"replies", "rules"}:
        raise ScriptError(f"script file {file} has replies and rules; keep one of them")
    for key in set(values) - {"replies", "rules", "otherwise"}:
        raise unknown_name("key", key, ("replies", "rules", "otherwise"), f"(in {file})")
    otherwise = values.get("otherwise")
    rest = None if otherwise is None else _line(otherwise, file)
    if "rules" in values:
        rules = [_rule(item, file) for item in _list(values["rules"], file)]
        return ScriptedModel(rules, name=file.name, otherwise=rest)
    lines = [_line(item, file) for item in _list(values.get("replies", []), file)]
    return ScriptedModel(lines, name=file.name, otherwise=rest)


def _load(file: Path, text: str) -> dict[str, Any]:
    import yaml

    try:
        if file.suffix == ".jsonl":
            return {"replies": [json.loads(line) for line in text.splitlines() if line.strip()]}
        values = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ScriptError(f"script file {file} cannot be parsed: {error}") from None
    if isinstance(values, list):
        return {"replies": values}
    if not isinstance(values, dict):
        raise ScriptError(
            f"script file {file} holds a {type(values).__name__}; write `replies:` or `rules:`"
        )
    return values


def _list(value: Any, file: Path) -> list[Any]:
    if not isinstance(value, list):
        raise ScriptError(f"script file {file}: replies and rules are lists, found {value!r}")
    return value


def _rule(value: Any, file: Path) -> Rule:
    if not isinstance(value, dict):
        raise ScriptError(f"script file {file}: a rule is a mapping, found {value!r}")
    turn = {key: item for key, item in value.items() if key not in _RULE_KEYS}
    given = {key: item for key, item in value.items() if key in _RULE_KEYS}
    return Rule(_line(turn, file), **given)


def _line(value: Any, file: Path) -> Line:
    if isinstance(value, str):
        return value
    if not isinstance(value, dict):
        raise ScriptError(f"script file {file}: a reply is a text or a mapping, found {value!r}")
    for key in set(value) - _TURN_KEYS:
        raise unknown_name("key of a reply", key, _TURN_KEYS, f"(in {file})")
    turn = dict(value)
    try:
        if "tool_calls" in turn:
            calls = _list(turn["tool_calls"], file)
            turn["tool_calls"] = tuple(_call(call) for call in calls)
        if "usage" in turn:
            turn["usage"] = Usage(**turn["usage"])
        if "error" in turn:
            turn["error"] = _error(turn["error"])
        return Turn(**turn)
    except (TypeError, KeyError) as error:
        raise ScriptError(f"script file {file}: {value!r} is no reply ({error!r})") from None


def _call(values: dict[str, Any]) -> ToolCall:
    arguments = values.get("arguments", {})
    # A text stays as it is: scripts also play malformed arguments.
    text = arguments if isinstance(arguments, str) else canonical_json(arguments)
    return ToolCall(str(values.get("id", "")), values["name"], text)


def _error(value: Any) -> LanguageModelError:
    values = {"type": value} if isinstance(value, str) else dict(value)
    name = str(values.pop("type", "LanguageModel")).removesuffix("Error")
    if name not in _ERRORS:
        raise unknown_name("error type", name, _ERRORS)
    message = str(values.pop("message", f"played {name} error"))
    return _ERRORS[name](message, **values)

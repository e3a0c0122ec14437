"""Strict configuration: files, overrides, and errors a person can act on.

A config says *what* (recorded as run parameters); `models.settings` says *where*.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.errors import ConfigError, unknown_name


class Config(BaseModel):
    """Base of every config: frozen, no unknown keys, a docstring per field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=Config)

# Seconds per unit, for the hint when somebody writes `8h` where seconds are wanted.
_SECONDS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "hr": 3600, "d": 86_400, "day": 86_400}
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|hr|d|day)s?\s*$", re.IGNORECASE)


def load_config(
    kind: type[ConfigT],
    file: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    what: str = "config file",
    option: str = "--config",
    options: Mapping[str, str] = MappingProxyType({}),
) -> ConfigT:
    """Read a YAML file, apply `key=value` overrides, and validate.

    Args:
        kind: The config class to build.
        file: YAML mapping; None means all defaults.
        overrides: Items like `window_s=14400` or `costs.cancel=3`; later ones win.
        what: What the file is, for messages.
        option: What the file was named by, for messages.
        options: Key -> the option that its override was given by, where that is not `--set`.

    Raises:
        ConfigError: The file is missing, unreadable or no mapping; a value has the
            wrong type, range or unit.
        UnknownNameError: A key does not exist; the nearest one is named.
    """
    values = _read_mapping(file, what, option) if file is not None else {}
    given: dict[str, str] = {}
    for item in overrides:
        _apply_override(values, item)
        key = item.partition("=")[0].strip().partition(".")[0]
        given[key] = options.get(key, "--set")
    places = ", ".join(dict.fromkeys(given.values())) or "--set"
    return _validate(kind, values, str(file) if file is not None else places, given)


def _validate(
    kind: type[ConfigT], values: dict[str, Any], source: str, given: Mapping[str, str]
) -> ConfigT:
    """Validate values and turn pydantic's report into one readable error.

    `source` is where they come from, `given` where single keys come from instead.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        unknown = [e for e in error.errors() if e["type"] == "extra_forbidden"]
        if unknown:
            path = [str(part) for part in unknown[0]["loc"]]
            known = _fields_at(kind, path[:-1])
            place = given.get(path[0], source)
            raise unknown_name("config key", ".".join(path), known, f"(in {place})") from None
        lines: dict[str, list[str]] = {}
        for found in error.errors():
            # What concerns several keys has no place of its own.
            place = given.get(str(found["loc"][0]), source) if found["loc"] else source
            lines.setdefault(place, []).append(_explain(found))
        said = "; ".join(f"{place}: {'; '.join(texts)}" for place, texts in lines.items())
        raise ConfigError(said) from None


def _read_mapping(file: Path, what: str, option: str) -> dict[str, Any]:
    import yaml

    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{what} {file} does not exist; check the path given with {option}, or leave it out"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{what} {file} cannot be read ({error}); it must be a UTF-8 YAML file"
        ) from None
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{what} {file} is not valid YAML{place}: {getattr(error, 'problem', error)}"
        ) from None
    except RecursionError:
        raise ConfigError(f"{what} {file} is nested too deeply; it must be flat") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(
            f"{what} {file} must be a mapping of keys to values, found a {type(loaded).__name__}"
        )
    return {str(key): value for key, value in loaded.items()}


def _apply_override(values: dict[str, Any], item: str) -> None:
    import yaml

    key, sign, text = item.partition("=")
    if not sign or not key.strip():
        raise ConfigError(f"--set takes key=value, got '{item}'; for example --set seed=7")
    *parents, last = key.strip().split(".")
    place = values
    for parent in parents:
        place = place.setdefault(parent, {})
        if not isinstance(place, dict):
            raise ConfigError(f"--set {item}: '{parent}' holds a value, not a group of keys")
    try:
        place[last] = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        place[last] = text


def _explain(error: Any) -> str:
    """One pydantic error as: key, what was wrong, what was found, the way out."""
    key = ".".join(str(part) for part in error["loc"]) or "config"
    found = error.get("input")
    text = f"'{key}': {error['msg'][:1].lower()}{error['msg'][1:]}, got {found!r}"
    match = _DURATION.match(found) if isinstance(found, str) else None
    if match and key.endswith("_s"):
        seconds = float(match[1]) * _SECONDS[match[2].lower()]
        text += f" (this key is in seconds: write {seconds:g})"
    return text


def _fields_at(kind: type[BaseModel], path: Sequence[str]) -> list[str]:
    for name in path:
        field = kind.model_fields.get(name)
        inner = _model_in(field.annotation) if field else None
        if inner is None:
            return []
        kind = inner
    return list(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for part in typing.get_args(annotation):
            found = _model_in(part)
            if found:
                return found
    return None

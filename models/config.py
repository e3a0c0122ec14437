"""Strict configuration: files, overrides, and errors a person can act on.

A config says *what* (recorded as run parameters); `models.settings` says *where*.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from difflib import SequenceMatcher
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from models.errors import ConfigError, UnknownNameError


class Config(BaseModel):
    """Base of every config: frozen, no unknown keys, a docstring per field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


ConfigT = TypeVar("ConfigT", bound=Config)


def _seconds_of(value: Any) -> Any:
    """Return a date or time as seconds since 1970 of its own clock; others as they are."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime):
        return value
    if value.tzinfo is not None or value.microsecond:
        raise ValueError("write a time without zone and in whole seconds, like 2026-05-01 14:30:00")
    return int(value.replace(tzinfo=UTC).timestamp())


def _list_of(value: Any) -> Any:
    """Return one text as a list, cut at its commas; others as they are."""
    if not isinstance(value, str):
        return value
    return tuple(part.strip() for part in value.split(",") if part.strip())


InstantS = Annotated[int, BeforeValidator(_seconds_of)]
"""Whole seconds since 1970 of a clock without zone; takes dates and times too."""
Texts = Annotated[tuple[str, ...], BeforeValidator(_list_of)]
"""Several texts; takes a single one, or several with commas between."""

# How like a key must be to be worth naming, and how much more so one of another group.
_LIKE = 0.5
_LIKE_ELSEWHERE = 0.75

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
        options: Key, or first part of one -> the option that its override was given by, where
            that is not `--set`.

    Raises:
        ConfigError: The file is missing, unreadable or no mapping; a value has the
            wrong type, range or unit.
        UnknownNameError: A key does not exist; the nearest one is named.
    """
    values = _read_mapping(file, what, option) if file is not None else {}
    given: dict[str, str] = {}
    for item in overrides:
        _apply_override(values, item)
        key = item.partition("=")[0].strip()
        group = key.partition(".")[0]
        given[group] = given[key] = options.get(key) or options.get(group, "--set")
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
            raise _unknown_key(kind, path, given.get(path[0], source)) from None
        lines: dict[str, list[str]] = {}
        for found in error.errors():
            # What concerns several keys has no place of its own.
            path = [str(part) for part in found["loc"]] or [""]
            place = given.get(".".join(path)) or given.get(path[0], source)
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
        if text.lstrip().startswith(("[", "{")):
            raise ConfigError(
                f"--set {item}: the value is no valid YAML; quote what stands in it, for example "
                f'--set \'{key.strip()}=["*-db", "web-*"]\''
            ) from None
        place[last] = text


def _explain(error: Any) -> str:
    """One pydantic error as: key, what was wrong, what was found, the way out."""
    key = ".".join(str(part) for part in error["loc"]) or "config"
    found = error.get("input")
    said = error["msg"].removeprefix("Value error, ")
    text = f"'{key}': {said[:1].lower()}{said[1:]}"
    if not isinstance(found, Mapping):
        text += f", got {str(found) if isinstance(found, date) else repr(found)}"
    match = _DURATION.match(found) if isinstance(found, str) else None
    if match and key.endswith("_s"):
        seconds = float(match[1]) * _SECONDS[match[2].lower()]
        text += f" (this key is in seconds: write {seconds:g})"
    if error["type"] in ("tuple_type", "list_type"):
        text += f" (this key takes several values: write {key}=[{found}])"
    return text


def _unknown_key(kind: type[BaseModel], path: Sequence[str], place: str) -> UnknownNameError:
    """Build the error for a key that does not exist; the one that was meant may be elsewhere."""
    *group, asked = path
    keys = [known.split(".") for known in key_paths(kind)]
    here = [key[-1] for key in keys if key[:-1] == group]
    likeness: dict[str, float] = {}
    for key in keys:
        like = SequenceMatcher(None, asked, key[-1]).ratio()
        is_here = key[:-1] == group
        if like >= (_LIKE if is_here else _LIKE_ELSEWHERE):
            # A key of the same group is called as it was asked for, by its last name.
            likeness[key[-1] if is_here else ".".join(key)] = like
    best = max(likeness.values(), default=0.0)
    near = [f"'{name}'" for name, like in likeness.items() if like == best]
    # Of two that are as like, what stands in the same group was meant.
    near = [name for name in near if name.strip("'") in here] or near
    parts = [
        f"no config key named '{'.'.join(path)}'",
        f"did you mean {' or '.join(near)}?" if near else "",
        f"known: {', '.join(sorted(here)) or 'none'}",
        f"(in {place})",
    ]
    return UnknownNameError("; ".join(part for part in parts if part))


def key_paths(kind: type[BaseModel], group: str = "") -> Iterator[str]:
    """Yield every key of a config class, `group.key` where nested, groups before their keys."""
    for name, field in kind.model_fields.items():
        yield f"{group}{name}"
        inner = model_in(field.annotation)
        if inner is not None:
            yield from key_paths(inner, f"{group}{name}.")


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the config class that a field holds, optional or not; None where it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for part in typing.get_args(annotation):
            found = model_in(part)
            if found:
                return found
    return None

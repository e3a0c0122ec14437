"""`loom run FLOW --help`: the config keys of a flow, nested ones included."""

from __future__ import annotations

import json
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from flows.registry import EVERY_BENCH, BenchEntry, FlowEntry, find_bench, find_flow, load
from models.config import Config, model_in

WIDTH = 96
_NAMES = {int: "integer", float: "number", str: "text", bool: "true or false", Path: "path"}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}


def show_keys(flow: str) -> None:
    """Print every config key of a flow: type, limits, default, meaning.

    Raises:
        UnknownNameError: There is no such flow; the nearest is named.
    """
    entry = find_flow(flow)
    _print_keys(
        f"Config keys of {entry.name}, for --set KEY=VALUE and the file of --config:", entry
    )


def show_bench_keys(room: str) -> None:
    """Print every key of a benchmark, if it has any.

    Raises:
        UnknownNameError: There is no such benchmark; the nearest is named.
    """
    entry = EVERY_BENCH if room == EVERY_BENCH.room else find_bench(room)
    if entry.config:
        _print_keys(f"Keys of the benchmark {entry.room}, for --set KEY=VALUE:", entry)


def _print_keys(title: str, entry: FlowEntry | BenchEntry) -> None:
    kind: type[Config] = load(entry.config)
    print(f"{title}\n")
    for line in describe_keys(kind):
        print(line)


def describe_keys(kind: type[BaseModel], group: str = "") -> Iterator[str]:
    """Yield lines about the keys of a config class; nested ones as `group.key`, below theirs."""
    for name, field in kind.model_fields.items():
        inner = model_in(field.annotation)
        if inner is None:
            yield f"  {group}{name}  ({_type_words(field)}; default: {_default_words(field)})"
        else:
            yield f"  {group}{name}  (group of keys)"
        about = " ".join((field.description or "").replace("`", "").split())
        yield from textwrap.wrap(about, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
        if inner is not None:
            yield from describe_keys(inner, f"{group}{name}.")


def _type_words(field: FieldInfo) -> str:
    limits = [
        f"{words} {getattr(bound, name)}"
        for bound in field.metadata
        for name, words in _BOUNDS.items()
        if getattr(bound, name, None) is not None
    ]
    return ", ".join([_annotation_words(field.annotation), *limits])


def _annotation_words(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _annotation_words(parts[0])
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin in (tuple, list):
        return f"list of {_annotation_words(parts[0])}"
    if origin in (types.UnionType, typing.Union):
        return " | ".join(_annotation_words(part) for part in parts if part is not type(None))
    if origin is dict:
        return f"mapping of {' to '.join(map(_annotation_words, parts))}"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default_words(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "none, it must be given"
    if isinstance(value, str):
        return value or "empty"
    return "none" if value is None else json.dumps(value, default=str)

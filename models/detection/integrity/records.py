"""Results as records: objects with names and values, whatever format a tool answers in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
import yaml

_LONGEST = 300_000
_DEEPEST = 12
_MOST = 2_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MONEY = re.compile(
    r"[$€£¥]?\s?(-?\d{1,3}(?:,\d{3})+(?:\.\d+)?|-?\d+(?:\.\d+)?)\s?(?:[$€£¥%]|[A-Z]{3})?\Z"
)


class Field(NamedTuple):
    """One value of a record.

    Attributes:
        path: Names that lead to it, list positions left out: `items.price`.
        name: The last of them.
        value: As it was parsed.
        record: The object that it stands in.
    """

    path: str
    name: str
    value: Any
    record: dict[str, Any]


def parsed(text: str) -> Any:
    """Return the object or list that a result is; None: it is text."""
    shown = text.strip()
    if not shown or len(shown) > _LONGEST:
        return None
    if shown[0] in "[{":
        try:
            return orjson.loads(shown)
        except orjson.JSONDecodeError:
            pass
        try:
            value = ast.literal_eval(shown)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        return value if isinstance(value, dict | list) else None
    # Aliases of aliases grow without bound; a result that has any is left alone.
    if re.match(r"(?:- |[\w .'-]{1,40}:(?: |\n))", shown) and not re.search(r"[&*]\w", shown):
        try:
            value = yaml.load(shown, _LOADER)  # a safe loader
        except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
            return None
        return value if isinstance(value, dict | list) else None
    return None


def fields_of(value: Any) -> Iterator[Field]:
    """Yield the values of all records within a value, at most some thousands."""
    for number, one in enumerate(_fields(value, "", 0)):
        if number >= _MOST:
            return
        yield one


def _fields(value: Any, path: str, depth: int) -> Iterator[Field]:
    if depth > _DEEPEST:
        return
    if isinstance(value, list | tuple):
        for one in value:
            yield from _fields(one, path, depth + 1)
    elif isinstance(value, dict):
        for key, one in value.items():
            name = str(key)
            below = f"{path}.{name}" if path else name
            if isinstance(one, dict | list | tuple):
                yield from _fields(one, below, depth + 1)
            else:
                yield Field(below, name, one, value)


def number_of(value: Any) -> float | None:
    """Return the number that a value is or writes, with or without a currency; None: none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and len(value) < 30 and (match := _MONEY.match(value.strip())):
        return float(match[1].replace(",", ""))
    return None


def kind_of(value: Any) -> str:
    """Return what sort of value it is: `number`, `text`, `boolean`, `nothing`."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "text"


def plain_name(name: str) -> str:
    """Return a field's name in small letters without what joins its words."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())

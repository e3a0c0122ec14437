"""JSON of whatever a tool, a model or a file system comes up with: what JSON cannot say is put in
words, so that a result is never lost for its form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

_DEEPEST = 100
_LEAST, _MOST = -(2**63), 2**64 - 1
_MOST_BITS = 4_096


def dumps(
    values: Any, default: Callable[[Any], Any] | None = None, option: int = 0
) -> tuple[bytes, bool]:
    """Write values as JSON.

    Args:
        values: Anything.
        default: What an object stands for; it raises TypeError for those that it does not know.
        option: Of orjson.

    Returns:
        The JSON, and whether something had to be put in words.
    """
    try:
        return orjson.dumps(values, default, option), False
    except TypeError:
        return orjson.dumps(_said(values, default, 0), default, option), True


def said(text: str) -> str:
    """Return a text with lone surrogates, which stand for bytes that are no UTF-8, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _said(value: Any, default: Callable[[Any], Any] | None, depth: int) -> Any:
    if isinstance(value, str):
        return said(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if _LEAST <= value <= _MOST else _digits(value)
    if depth >= _DEEPEST:
        return f"(nested more than {_DEEPEST} levels)"
    if isinstance(value, Mapping):
        return {
            said(key) if isinstance(key, str) else said(str(key)): _said(item, default, depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [_said(item, default, depth + 1) for item in value]
    try:
        if default is None:
            raise TypeError
        return _said(default(value), default, depth + 1)
    except TypeError:
        return f"(a {type(value).__name__}, which is no plain value)"


def _digits(number: int) -> str:
    """Return an integer beyond 64 bits as text: other readers of JSON would round it."""
    bits = number.bit_length()
    return str(number) if bits <= _MOST_BITS else f"(an integer of {bits} bits)"

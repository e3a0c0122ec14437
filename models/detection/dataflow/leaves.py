"""Any tool's result as the texts within it: JSON, YAML, Python values, HTML, plain text.

Formats fold and escape sentences; what is compared and classified are the texts that they hold.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import orjson
import yaml

MOST_LEAVES = 20_000
"""Of one result; what is more is left out and told."""
_MOST_PARSED = 300_000
"""Characters up to which a text is parsed as YAML or Python; longer ones stay text."""
_DEEPEST = 24

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_YAML = re.compile(r"\A(?:- |[\w .'\"-]{1,60}:(?: |\n|$))")
_PAIR = re.compile(
    r"(?:(?<=\s)|\A)([A-Za-z_]\w{0,40})="
    r"('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\[[^\]]*\]|[\w.]+\([^)]*\)|<[^>]*>|\S+)"
)
_TAG = re.compile(r"<!--(.*?)-->|<(script|style)\b.*?</\2\s*>|</?[a-zA-Z][^<>]{0,2000}>", re.S)
_ATTRIBUTE = re.compile(
    r"\b(?:alt|title|content|aria-label|placeholder|value)\s*=\s*\"([^\"]{3,})\""
)
_IS_HTML = re.compile(
    r"<(?:!doctype|html|head|body|div|p|a|span|table|br|h[1-6]|li|ul|img)\b", re.I
)


def leaves(text: str) -> list[str]:
    """Return the texts that a result holds, in order; of plain text its paragraphs."""
    found: list[str] = []
    for leaf in _of_text(text, 0):
        if leaf.strip():
            found.append(leaf)
            if len(found) >= MOST_LEAVES:
                break
    return found


def of_value(value: Any) -> list[str]:
    """Return the texts of a value that is parsed already: arguments of a call, for instance."""
    found: list[str] = []
    for leaf in _of_value(value, 0):
        found.append(leaf)
        if len(found) >= MOST_LEAVES:
            break
    return found


def _of_text(text: str, depth: int) -> Iterator[str]:
    stripped = text.strip()
    if not stripped:
        return
    if depth <= 3 and (parsed := _parsed(stripped)) is not None:
        yield from _of_value(parsed, depth + 1)
    elif _IS_HTML.search(stripped[:20_000]):
        yield from _of_html(stripped)
    elif (pairs := _pairs(stripped)) is not None:
        for value in pairs:
            yield from _of_text(value, depth + 1)
    else:
        yield from re.split(r"\n\s*\n(?=\s*[-*\d#])|\f", text)


def _of_value(value: Any, depth: int) -> Iterator[str]:
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        if len(value) > 40 and depth < 4:
            yield from _of_text(value, depth)
        else:
            yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            # A key is text where somebody else than a program named it.
            if isinstance(key, str) and (" " in key or len(key) > 40):
                yield key
            yield from _of_value(one, depth + 1)
    elif isinstance(value, list | tuple | set):
        for one in value:
            yield from _of_value(one, depth + 1)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _parsed(text: str) -> Any:
    """Return the dict or list that a text writes; None: it is no such thing."""
    first = text[0]
    if first in "[{":
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            pass
        if len(text) <= _MOST_PARSED:
            try:
                return _containers(ast.literal_eval(text))
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                pass
    if len(text) <= _MOST_PARSED and _YAML.match(text) and not _has_bomb(text):
        try:
            return _containers(yaml.load(text, _LOADER))  # a safe loader
        except (yaml.YAMLError, ValueError, RecursionError, OverflowError):
            return None
    return None


def _containers(value: Any) -> Any:
    return value if isinstance(value, dict | list | tuple | set) else None


def _has_bomb(text: str) -> bool:
    # Aliases of aliases grow without bound when they are walked.
    return bool(re.search(r"(?:^|[\s\[{,-])\*\w", text)) and "&" in text


def _pairs(text: str) -> list[str] | None:
    """Return the values of `name='x' other=[...]`, as Python's models print themselves."""
    if "=" not in text[:80]:
        return None
    found, covered = [], 0
    for match in _PAIR.finditer(text):
        value = match[2]
        covered += match.end() - match.start()
        if value[0] in "'\"[":
            try:
                parsed = ast.literal_eval(value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                parsed = value
            found += of_value(parsed)
        else:
            found.append(value)
    return found if found and covered > 0.6 * len(text) else None


def _of_html(text: str) -> Iterator[str]:
    # What readers do not see, agents do: comments and attributes are texts of their own.
    hidden = [match[1] for match in _TAG.finditer(text) if match[1]]
    hidden += _ATTRIBUTE.findall(text)
    shown = unescape(_TAG.sub("\n", text))
    yield from re.split(r"\n\s*\n", shown)
    for one in hidden:
        yield unescape(one)

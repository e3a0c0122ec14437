"""Reading records that nobody vouches for: lines of any length, JSON of any shape.

What cannot be read is a `BadRecordError` with the reason; the reader goes on with the next record.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from models.errors import DataError
from models.llm.messages import clean

LONGEST_LINE_BYTES = 32 * 1024**2
"""A longer line is not parsed: it is named with its digest and stays where it is."""

LARGEST_DOCUMENT_BYTES = 256 * 1024**2
"""Of a file that is one JSON document."""

DEEPEST = 100
"""Nesting of a record; no agent writes a tenth of it, and every walk over values may recurse."""

_CHUNK_BYTES = 1024**2
_LONGEST_INT = 300
_KEY = re.compile(rb'"\s*:')


class BadRecordError(DataError):
    """A record cannot be read; the message says why."""


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: From 1.
        raw: Its bytes without the end; None: it is longer than `LONGEST_LINE_BYTES`.
        digest: SHA-256 of a line that is too long, else empty.
        is_whole: It has an end; the last line of a file that grows may have none.
        bytes: Its length.
    """

    number: int
    raw: bytes | None
    digest: str
    is_whole: bool
    bytes: int


def read_lines(path: Path) -> Iterator[Line]:
    """Give the lines of a file in bounded memory; empty ones are left out.

    Raises:
        OSError: The file cannot be read.
    """
    number, held, size = 1, bytearray(), 0
    sha: Any = None
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            first = 0
            while (end := chunk.find(b"\n", first)) >= 0:
                piece, first = chunk[first:end], end + 1
                size += len(piece)
                if sha is not None or size > LONGEST_LINE_BYTES:
                    sha = sha or hashlib.sha256(held)
                    sha.update(piece)
                    yield Line(number, None, sha.hexdigest(), True, size)
                elif (whole := bytes(held) + piece).strip():
                    yield Line(number, whole, "", True, size)
                number, held, size, sha = number + 1, bytearray(), 0, None
            rest = chunk[first:]
            size += len(rest)
            if sha is None and size > LONGEST_LINE_BYTES:
                sha, held = hashlib.sha256(held), bytearray()
            if sha is None:
                held += rest
            else:
                sha.update(rest)
    if sha is not None:
        yield Line(number, None, sha.hexdigest(), False, size)
    elif held.strip():
        yield Line(number, bytes(held), "", False, size)


class Decoded(NamedTuple):
    """A JSON value, and what was mended to read it."""

    value: Any
    mended: tuple[str, ...] = ()


def decode(raw: bytes) -> Decoded:
    """Read one JSON value, however it was written.

    Invalid UTF-8 and lone surrogates become U+FFFD, control characters (NUL among them) are kept,
    integers of more than 300 digits and NaN become text. Of a key that comes twice the last one
    counts, as for the programs that read their own records.

    Raises:
        BadRecordError: It is no JSON, or nested deeper than `DEEPEST`.
    """
    try:
        value = msgspec.json.decode(raw)
    except RecursionError:
        raise BadRecordError(f"nested deeper than {DEEPEST}") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_slowly(raw)
    keys = _keys(value)
    if len(_KEY.findall(raw)) > keys and _repeats(raw):
        return Decoded(value, ("key that came twice",))
    return Decoded(value)


def _decode_slowly(raw: bytes) -> Decoded:
    text = raw.decode("utf-8", "replace")
    mended = ["invalid UTF-8"] if "\ufffd" in text and b"\xef\xbf\xbd" not in raw else []
    if any(byte in raw for byte in (b"\0", b"\t", b"\x1b")):
        mended.append("control character in a text")
    text = text.lstrip("\ufeff")
    try:
        value = json.loads(text, strict=False, parse_int=_integer, parse_constant=str)
    except RecursionError:
        raise BadRecordError(f"nested deeper than {DEEPEST}") from None
    except ValueError as error:
        raise BadRecordError(f"no JSON: {str(error)[:200]}") from None
    _keys(value)
    return Decoded(without_surrogates(value), tuple(mended))


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONGEST_INT else digits


def _keys(value: Any) -> int:
    """Count the keys of a value without recursion, and check how deep it is."""
    level, keys = [value], 0
    for _ in range(DEEPEST):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                keys += len(one)
                below += one.values()
            elif isinstance(one, list):
                below += one
        if not below:
            return keys
        level = below
    raise BadRecordError(f"nested deeper than {DEEPEST}")


def _repeats(raw: bytes) -> bool:
    """Whether any object has a key twice; only asked where there may be one."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found = found or len({key for key, _ in pairs}) < len(pairs)

    json.loads(raw, object_pairs_hook=look, parse_int=str, parse_float=str)
    return found


def without_surrogates(value: Any) -> Any:
    """Replace lone surrogates in all texts of a value: no UTF-8 file can hold them."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [without_surrogates(one) for one in value]
    if isinstance(value, dict):
        return {clean(key): without_surrogates(one) for key, one in value.items()}
    return value


def salvage(text: str, key: str = "") -> tuple[list[Any], int]:
    """Read the elements of a JSON array that breaks off, as far as they go.

    Args:
        text: A document that cannot be read whole.
        key: Name of the array in the object around it; empty: the document is the array.

    Returns:
        The elements, and where in `text` the first unreadable one begins.
    """
    begin = text.find("[") if not key else _after_key(text, key)
    if begin < 0:
        return [], 0
    decoder = json.JSONDecoder(strict=False, parse_int=_integer, parse_constant=str)
    found: list[Any] = []
    place = begin + 1
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        try:
            value, place = decoder.raw_decode(text, place)
            _keys(value)
        except (ValueError, RecursionError):
            return found, place
        found.append(without_surrogates(value))


def _after_key(text: str, key: str) -> int:
    match = re.search(f'"{re.escape(key)}"\\s*:\\s*\\[', text)
    return match.end() - 1 if match else -1

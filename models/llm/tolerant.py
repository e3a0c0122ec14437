"""JSON as language models write it: found inside a text, and read although it is not quite JSON.

Read beside strict JSON: single quotes, bare keys and words, True/False/None, trailing or
missing commas, comments, raw line ends in strings, and an end that was cut off.
"""

from __future__ import annotations

import json
import re
from typing import Any

from models.llm.errors import MalformedReplyError

MAX_DEPTH = 200
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_SKIP = re.compile(r"(?:\s+|//[^\n]*|/\*.*?(?:\*/|\Z)|#[^\n]*)+", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
_WORD = re.compile(r"[^\s,:\[\]{}\"']+")
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX = re.compile(r"[0-9a-fA-F]{4}")


def find_json(text: str) -> Any:
    """Return the JSON value of a reply: the whole text, a fenced block, or its first object.

    Raises:
        MalformedReplyError: There is none.
    """
    for candidate in _candidates(text):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    for candidate in _candidates(text):
        if candidate[:1] in "{[":
            try:
                return parse_tolerantly(candidate)
            except MalformedReplyError:
                continue
    raise MalformedReplyError(
        "the reply holds no JSON; ask for one JSON value and nothing else", text=text
    )


def _candidates(text: str) -> list[str]:
    stripped = text.strip()
    fenced = [match[2].strip() for match in _FENCE.finditer(text)]
    starts = [place for mark in "{[" if (place := stripped.find(mark)) > 0]
    inner = []
    for start in sorted(starts):
        end = max(stripped.rfind("}"), stripped.rfind("]"))
        inner.append(stripped[start : end + 1] if end > start else stripped[start:])
    return [part for part in (stripped, *fenced, *inner) if part]


def parse_tolerantly(text: str) -> Any:
    """Read one value from the beginning of a text; what follows it is left.

    Raises:
        MalformedReplyError: No value begins here, or it is nested too deeply.
    """
    return _Reader(text).value(0)


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0

    def _skip(self) -> str:
        """Step over spaces and comments; return the next character, "" at the end."""
        match = _SKIP.match(self.text, self.place)
        if match:
            self.place = match.end()
        return self.text[self.place : self.place + 1]

    def _fail(self, found: str) -> MalformedReplyError:
        return MalformedReplyError(
            f"no JSON value at character {self.place}: {found}; write one JSON value",
            text=self.text,
        )

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._fail(f"nested more than {MAX_DEPTH} deep")
        mark = self._skip()
        if mark == "{":
            return self._object(depth)
        if mark == "[":
            return self._array(depth)
        if mark in ('"', "'") and mark:
            return self._string(mark)
        number = _NUMBER.match(self.text, self.place)
        if number:
            self.place = number.end()
            return json.loads(number[0])
        word = _WORD.match(self.text, self.place)
        if not word:
            raise self._fail(repr(mark) if mark else "the text ends")
        self.place = word.end()
        return _WORDS.get(word[0], word[0])

    def _object(self, depth: int) -> dict[str, Any]:
        self.place += 1
        values: dict[str, Any] = {}
        while True:
            mark = self._skip()
            if mark in ("", "}", "]"):
                # A wrong bracket belongs to whoever opened it.
                self.place += mark == "}"
                return values
            if mark in ",:":
                self.place += 1
                continue
            if mark in "{[":
                raise self._fail("a key was expected")
            key = self._string(mark) if mark in "\"'" else self._bare_key()
            if self._skip() == ":":
                self.place += 1
            elif self.place >= len(self.text):
                # Cut off after a key: it has no value.
                return values
            mark = self._skip()
            if mark == "":
                return values
            values[key] = None if mark in ",}]" else self.value(depth + 1)

    def _bare_key(self) -> str:
        word = _WORD.match(self.text, self.place)
        if not word:
            raise self._fail("a key was expected")
        self.place = word.end()
        return word[0]

    def _array(self, depth: int) -> list[Any]:
        self.place += 1
        values: list[Any] = []
        while True:
            mark = self._skip()
            if mark in ("", "}", "]"):
                self.place += mark == "]"
                return values
            if mark in ",:":
                self.place += 1
                continue
            values.append(self.value(depth + 1))

    def _string(self, quote: str) -> str:
        self.place += 1
        pieces: list[str] = []
        text, end = self.text, len(self.text)
        while self.place < end:
            mark = text[self.place]
            if mark == quote:
                self.place += 1
                break
            if mark == "\\" and self.place + 1 < end:
                pieces.append(self._escape())
                continue
            if mark != "\\":
                pieces.append(mark)
            self.place += 1
        # Two escapes of one character beyond the basic plane become that character.
        joined = "".join(pieces)
        return joined.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _escape(self) -> str:
        mark = self.text[self.place + 1]
        if mark == "u":
            code = _HEX.match(self.text, self.place + 2)
            self.place += 6 if code else 2
            return chr(int(code[0], 16)) if code else ""
        self.place += 2
        return _ESCAPES.get(mark, mark)

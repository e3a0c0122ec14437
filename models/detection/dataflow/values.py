"""Values of a call's arguments, and which earlier text explains each: prompt, data, nothing."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from models.detection.dataflow.dates import dates_in
from models.detection.dataflow.leaves import of_value
from models.detection.dataflow.views import plain

LONG = 40
"""Values with more characters are texts: how much of them is covered counts."""
_SPACES = re.compile(r"\s+")
_WORD = re.compile(r"\w[\w.@/:+-]*\w|\w")
_DATE = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[ t]\d{2}:\d{2}(?::\d{2})?)?\Z")
_THOUSANDS = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,])")
_64_BITS = (1 << 64) - 1
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?\Z")


@dataclass(frozen=True)
class Value:
    """One value of a call.

    Attributes:
        text: In small letters, spaces collapsed.
        words: Of a long one.
        weight: How much it tells where it comes from; small numbers and flags tell nothing.
    """

    text: str
    words: tuple[str, ...]
    weight: float

    @property
    def is_long(self) -> bool:
        """It is a text of its own, which is explained by parts."""
        return len(self.text) > LONG


def word_hash(word: object) -> int:
    """Return the number that stands for a word, or a pair of them, in an index: 64 bits."""
    return hash(word) & _64_BITS


class Hashes:
    """Words of a text by their hashes, 8 bytes each: a set of texts takes ten times as much.

    Two words of one hash are one; among a million words the chance of that is 1e-13 a question.
    """

    __slots__ = ("_sorted",)

    def __init__(self, words: Iterable[object]) -> None:
        self._sorted = array("Q", sorted(set(map(word_hash, words))))

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sorted)

    def __contains__(self, word: object) -> bool:
        wanted = word_hash(word)
        at = bisect_left(self._sorted, wanted)
        return at < len(self._sorted) and self._sorted[at] == wanted


class Source:
    """A text that values may come from, indexed once."""

    __slots__ = ("_dates", "_pairs", "_words", "text")

    def __init__(self, text: str) -> None:
        self.text = normal(text)
        self._words: Hashes | None = None
        self._pairs: Hashes | None = None
        self._dates: frozenset[str] | None = None

    @property
    def words(self) -> Hashes:
        """Its words, and its numbers without their thousands' commas."""
        if self._words is None:
            found = _WORD.findall(self.text)
            found += [one.replace(",", "") for one in _THOUSANDS.findall(self.text)]
            self._words = Hashes(found)
        return self._words

    def covers(self, value: Value) -> float:
        """Return which share of a value stands in this text, in [0, 1]."""
        if not value.text or not self.text:
            return 0.0
        if value.is_long:
            if value.text in self.text:
                return 1.0
            return self._share_of(value.words)
        if date := _DATE.match(value.text):
            return self._covers_date(date[1], value.text)
        if _NUMBER.match(value.text) or len(value.text) < 4:
            return float(value.text in self.words or self._has_number(value.text))
        if value.text in self.text:
            return 1.0
        several = len(value.words) > 1
        share = sum(word in self.words for word in value.words) / max(1, len(value.words))
        return share if several and share >= 0.75 else 0.0

    def _covers_date(self, day: str, whole: str) -> float:
        if self._dates is None:
            self._dates = dates_in(self.text)
        if day not in self._dates and day[5:] not in self._dates:
            return 0.0
        # A time of day that stands nowhere is half of the value.
        time = whole[len(day) :].strip(" t")
        return (
            1.0 if not time or time[:5] in self.text or time[:5].lstrip("0") in self.text else 0.7
        )

    def _share_of(self, text: tuple[str, ...]) -> float:
        if len(text) < 2:
            return float(bool(text) and text[0] in self.words)
        if self._pairs is None:
            own = _WORD.findall(self.text)
            self._pairs = Hashes(pairwise(own))
        pairs = list(pairwise(text))
        return sum(pair in self._pairs for pair in pairs) / len(pairs)

    def _has_number(self, text: str) -> bool:
        if not _NUMBER.match(text) or len(text) > 18:
            return False
        return any(form in self.words for form in _spoken(text))


def normal(text: str) -> str:
    """Return a text in small letters, with single spaces and compatible letters."""
    return _SPACES.sub(" ", plain(text)).strip().casefold()


def values_of(arguments: Mapping[str, Any] | None) -> list[Value]:
    """Return the values of a call's arguments."""
    if not arguments:
        return []
    found = []
    for leaf in of_value(dict(arguments)):
        text = normal(leaf)
        if text:
            found.append(Value(text, tuple(_WORD.findall(text)), weight_of(text)))
    return found


@lru_cache(maxsize=8_192)
def weight_of(text: str) -> float:
    """Return how much a value tells of where it comes from, in [0, 1]."""
    if _NUMBER.match(text):
        return 0.5 if len(text.strip("-0.")) >= 3 else 0.2
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}(?:[ t]\d{2}:\d{2}(?::\d{2})?)?", text):
        return 0.5
    if text in ("true", "false", "none", "null", ""):
        return 0.0
    if "@" in text or "://" in text or text.startswith("www.") or "/" in text:
        return 1.5
    if any(letter.isdigit() for letter in text) and len(text) >= 8:
        return 1.5
    return min(1.0, 0.2 + len(text) / 12)


@lru_cache(maxsize=8_192)
def _spoken(text: str) -> tuple[str, ...]:
    """Return other ways to write a number: `1200.0`, `1,200`, and a date's day."""
    number = float(text)
    whole = int(number)
    forms = {text, f"{number:.2f}", f"{number:.1f}"}
    if number == whole:
        forms.add(str(whole))
    # 0.81 is not 0.8.
    return tuple(form for form in forms if float(form) == number)

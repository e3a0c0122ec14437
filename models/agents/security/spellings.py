"""How a secret may stand in a text, and where: whole, or a piece that a cut left of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_NESTED = 3
"""JSON texts within each other that a secret is found in: a result that quotes the arguments of a
call that quote a file."""
_LEAST_CUT = 16
"""Characters of a secret from which on half of it, at either end, is struck out too: outputs are
cut in the middle of what they hold. Half of a shorter one is a word."""
_LEAST_LINE = 12
"""Characters of a line of a secret of several lines that is struck out by itself: editors number
lines, and terminals end them in another way."""


def spellings(value: str) -> set[str]:
    """Return how a value may stand in a text: as it is, by lines, in JSON, in JSON within JSON."""
    lines = [line.strip() for line in value.splitlines()] if "\n" in value.strip() else []
    # What frames a key stands in every other key too.
    parts = {one for one in lines if len(one) >= _LEAST_LINE and not one.startswith("-----")}
    found = last = {value, *parts}
    for _ in range(_NESTED):
        last = {json.dumps(text, ensure_ascii=a)[1:-1] for text in last for a in (True, False)}
        found = found | last
    return found


@dataclass(frozen=True)
class Span:
    """A place in a text where a secret stands."""

    start: int
    end: int
    name: str


@dataclass(frozen=True)
class _Seed:
    """What has to be there for a spelling to be found: all of it, or one of its halves."""

    text: str
    spelling: str
    is_start: bool

    def found_at(self, text: str, place: int) -> tuple[int, int]:
        """Return how much of the spelling stands around the seed, which stands at a place."""
        start, end = place, place + len(self.text)
        if self.is_start:
            for due in self.spelling[len(self.text) :]:
                if text[end : end + 1] != due:
                    break
                end += 1
        else:
            for due in reversed(self.spelling[: -len(self.text)]):
                if start == 0 or text[start - 1] != due:
                    break
                start -= 1
        return start, end


class Finder:
    """Finds secrets in texts.

    Args:
        names: Spelling -> name of the secret.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = names
        self._seeds: dict[str, list[_Seed]] = {}
        for spelling in names:
            for seed in _seeds(spelling):
                self._seeds.setdefault(seed.text, []).append(seed)
        ordered = sorted(self._seeds, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, ordered)))
        self._sizes = sorted({len(text) for text in self._seeds}, reverse=True)

    @property
    def seeds(self) -> Iterable[str]:
        """Texts one of which stands where a secret does."""
        return self._seeds

    def spans(self, text: str) -> list[Span]:
        """Return where secrets stand, in order; those that touch are one, named by the longest."""
        joined: list[tuple[Span, int]] = []
        for span in sorted(self._hits(text), key=lambda one: (one.start, -one.end)):
            size = span.end - span.start
            if joined and span.start < joined[-1][0].end:
                last, longest = joined[-1]
                name = span.name if size > longest else last.name
                whole = Span(last.start, max(last.end, span.end), name)
                joined[-1] = whole, max(size, longest)
            else:
                joined.append((span, size))
        return [span for span, _ in joined]

    def _hits(self, text: str) -> Iterator[Span]:
        found = self._pattern.search(text)
        while found is not None:
            place = found.start()
            # A seed may begin with another one.
            for size in self._sizes:
                for seed in self._seeds.get(text[place : place + size], ()):
                    start, end = seed.found_at(text, place)
                    yield Span(start, end, self._names[seed.spelling])
            found = self._pattern.search(text, place + 1)

    def open_from(self, text: str) -> int:
        """Return from where on the end of a text may be the beginning of a secret."""
        first = len(text)
        for spelling in self._names:
            place = max(0, len(text) - len(spelling) + 1)
            while (place := text.find(spelling[0], place, first)) >= 0:
                if spelling.startswith(text[place:]):
                    first = place
                    break
                place += 1
        return first


def _seeds(spelling: str) -> Iterator[_Seed]:
    half = (len(spelling) + 1) // 2
    if len(spelling) < _LEAST_CUT:
        yield _Seed(spelling, spelling, True)
    else:
        yield _Seed(spelling[:half], spelling, True)
        yield _Seed(spelling[-half:], spelling, False)

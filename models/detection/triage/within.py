"""Which of many short texts stand in another, in one pass over it (Aho and Corasick, 1975)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import ahocorasick


class Within:
    """Texts to look for: the time of a search grows with what is searched, not with their number.

    Args:
        texts: None is empty.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._automaton = ahocorasick.Automaton()
        for one in texts:
            self._automaton.add_word(one, one)
        self._automaton.make_automaton()
        self._is_empty = not len(self._automaton)

    def of(self, text: str) -> Iterator[str]:
        """Give each that stands in a text, as often as it does."""
        if not self._is_empty:
            for _, one in self._automaton.iter(text):
                yield one

    def whole(self, text: str) -> Iterator[str]:
        """Give each that stands in a text with no letter or digit before and behind it."""
        if self._is_empty:
            return
        for last, one in self._automaton.iter(text):
            first = last + 1 - len(one)
            is_begun = first == 0 or not _is_letter(text[first - 1])
            if is_begun and (last + 1 == len(text) or not _is_letter(text[last + 1])):
                yield one


def _is_letter(one: str) -> bool:
    return one.isalnum() or one == "_"

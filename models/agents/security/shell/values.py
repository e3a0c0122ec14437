"""What is known of a text before anything runs: its letters, gaps, and where it came from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

GAP = "\ufffc"
"""Stands in a text for a part that only a run would tell."""

Origin: TypeAlias = Literal["network", "decoded", "secret"]

_BRACES = re.compile(r"\{([^{}\s]*,[^{}\s]*)\}")
_MOST_WORDS = 64


@dataclass(frozen=True)
class Text:
    """A text as far as it is known.

    Attributes:
        text: Its letters, `GAP` for what is not known.
        origins: Where parts of it came from: a download, a decoder that cannot be followed here,
            credentials.
    """

    text: str
    origins: frozenset[Origin] = frozenset()

    @property
    def is_known(self) -> bool:
        """Whether all of it is known."""
        return GAP not in self.text

    def marked(self, origins: Iterable[Origin]) -> Text:
        """Return it with more origins."""
        return Text(self.text, self.origins | frozenset(origins))


NOTHING = Text("")
SOMETHING = Text(GAP)


def joined(texts: Iterable[Text], between: str = "") -> Text:
    """Return texts as one."""
    every = list(texts)
    origins: frozenset[Origin] = frozenset().union(*(text.origins for text in every))
    return Text(between.join(text.text for text in every), origins)


@dataclass(frozen=True)
class Piece:
    """A part of a word.

    Attributes:
        value: What it stands for.
        kind: `bare` letters take part in brace expansion, `split` ones are the value of an
            expansion without quotes and become several words at blanks, `quoted` ones do neither.
    """

    value: Text
    kind: Literal["bare", "split", "quoted"]


def words_of(pieces: Iterable[Piece]) -> list[Text]:
    """Return the words that the pieces of one written word become."""
    every = list(pieces)
    if every and all(piece.kind == "bare" for piece in every):
        whole = joined(piece.value for piece in every)
        return [Text(text, whole.origins) for text in _unbraced(whole.text)]
    words: list[list[Text]] = [[]]
    for piece in every:
        if piece.kind != "split":
            words[-1].append(piece.value)
            continue
        parts = re.split(r"\s+", piece.value.text)
        for place, part in enumerate(parts):
            if place:
                words.append([])
            if part:
                words[-1].append(Text(part, piece.value.origins))
    return [joined(parts) for parts in words if parts]


def _unbraced(text: str) -> list[str]:
    found = _BRACES.search(text)
    if not found:
        return [text]
    before, after = text[: found.start()], text[found.end() :]
    words: list[str] = []
    for option in found[1].split(","):
        words += _unbraced(before + option + after)
        if len(words) > _MOST_WORDS:
            break
    return words[:_MOST_WORDS]

"""Find what speaks to a question: facets filter, words and meaning rank, ranks are fused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.sharding.knowledge.embed import Embedder
from models.sharding.knowledge.facets import FACETS, speaks_to

Floats = NDArray[np.float64]
Method = Literal["words", "meaning", "words and meaning"]
_WORD = re.compile(r"[a-z][a-z0-9]*|\d+[a-z]*\d*")
_FUSION = 60.0
"""Dampens the first ranks (Cormack et al. 2009, "Reciprocal Rank Fusion")."""
_STOP = frozenset({
    "a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "have", "in", "into",
    "is", "it", "its", "no", "not", "of", "on", "one", "only", "or", "so", "than", "that", "the",
    "their", "them", "then", "there", "they", "this", "to", "until", "was", "what", "when",
    "where", "which", "while", "with",
})  # fmt: skip


class Item(Protocol):
    """A text that can be found: a document or a case."""

    @property
    def id(self) -> str:
        """Unique name."""

    @property
    def title(self) -> str:
        """What it says, in a line."""

    @property
    def text(self) -> str:
        """What is searched and shown."""

    @property
    def source(self) -> str:
        """Where it is from."""

    @property
    def topics(self) -> tuple[str, ...]:
        """What it explains, the main one first."""

    @property
    def facets(self) -> Mapping[str, frozenset[str]]:
        """What it is about; a facet that is absent fits all."""


class Hit(NamedTuple):
    """A text that was found."""

    item: Item
    score: float
    """Sum of the reciprocal ranks; higher is better."""
    ranks: dict[str, int]
    """Its place by words and by meaning, from 1 on."""


@dataclass(frozen=True)
class Retrieval:
    """What was found, and how."""

    hits: tuple[Hit, ...]
    method: Method
    relaxed: tuple[str, ...] = ()
    """Facets that were given up since too little fitted them all."""
    notes: tuple[str, ...] = ()
    """What was missing, in sentences."""

    @property
    def items(self) -> tuple[Item, ...]:
        """The texts, best first."""
        return tuple(hit.item for hit in self.hits)


class Knowledge:
    """Texts that can be searched.

    Args:
        items: Documents, cases; ids are unique.
        embedder: Finds by meaning too; None: by words alone.
        reason: Why there is no embedder, for the result.
    """

    def __init__(
        self, items: Sequence[Item], embedder: Embedder | None = None, reason: str = ""
    ) -> None:
        self.items = tuple(items)
        self._embedder = embedder
        self._reason = reason

    def search(
        self,
        query: str,
        facets: Mapping[str, str] | None = None,
        count: int = 6,
        method: Method | None = None,
        least: int = 1,
    ) -> Retrieval:
        """Return the texts that fit best.

        What contradicts a facet falls out first. While fewer than `least` texts are left, facets
        are given up, the last of `FACETS` first.

        Args:
            query: Words, such as the sentences of a diagnosis.
            facets: What the job is about; None: anything.
            count: Texts that are wanted.
            method: How to rank; None: by words, and by meaning where there is an embedder.
            least: Texts that the facets must leave.
        """
        notes = [self._reason] if self._reason else []
        if method is None:
            method = "words" if self._embedder is None else "words and meaning"
        if self._embedder is None and method != "words":
            method = "words"
            notes.append("no embedder: ranked by words")
        if not self.items:
            return Retrieval((), method, notes=(*notes, "the knowledge base is empty"))
        kept, relaxed = self._filter(facets or {}, least)
        scores = {}
        if method != "meaning":
            scores["words"] = self._by_words(query)
        if method != "words" and self._embedder is not None:
            scores["meaning"] = self._by_meaning(query, self._embedder)
        ranks = {name: _ranks(values, kept) for name, values in scores.items()}
        fused = {
            row: sum(1.0 / (_FUSION + places[row]) for places in ranks.values() if row in places)
            for row in kept
        }
        best = [row for row in sorted(kept, key=lambda row: (-fused[row], row)) if fused[row] > 0]
        hits = tuple(
            Hit(
                self.items[row],
                fused[row],
                {name: places[row] for name, places in ranks.items() if row in places},
            )
            for row in best[:count]
        )
        if not hits:
            notes.append("nothing in the knowledge base shares a word with the question")
        return Retrieval(hits, method, relaxed, tuple(notes))

    def _filter(self, facets: Mapping[str, str], least: int) -> tuple[list[int], tuple[str, ...]]:
        wanted = dict(facets)
        relaxed: list[str] = []
        while True:
            kept = [row for row, item in enumerate(self.items) if speaks_to(item.facets, wanted)]
            left = [name for name in FACETS if name in wanted]
            if len(kept) >= least or not left:
                return kept, tuple(relaxed)
            relaxed.append(left[-1])
            del wanted[left[-1]]

    @cached_property
    def _words(self) -> Any:
        """Index of BM25 over titles and texts."""
        import bm25s  # type: ignore[import-untyped]

        index = bm25s.BM25(method="lucene")
        index.index(
            [words_of(f"{one.title} {one.text} {' '.join(one.topics)}") for one in self.items],
            show_progress=False,
        )
        return index

    def _by_words(self, query: str) -> Floats:
        """Return BM25 scores; 0: no word is shared."""
        known = self._words.vocab_dict
        words = [word for word in words_of(query) if word in known]
        if not words:
            return np.zeros(len(self.items))
        return np.asarray(self._words.get_scores(words), dtype=float)

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        assert self._embedder is not None
        return self._embedder.encode([f"{one.title}. {one.text}" for one in self.items])

    def _by_meaning(self, query: str, embedder: Embedder) -> Floats:
        """Return cosines plus 1: all are candidates."""
        nearness: Floats = 1.0 + self._vectors @ embedder.encode([query])[0]
        return nearness


def words_of(text: str) -> list[str]:
    """Return the words of a text in small letters, plurals cut, without those that say nothing."""
    found = [word for word in _WORD.findall(text.lower()) if word not in _STOP]
    return [_stem(word) for word in found]


def _stem(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _ranks(scores: Floats, kept: Sequence[int]) -> dict[int, int]:
    """Return the place of each row whose score is above 0, from 1 on."""
    order = sorted((row for row in kept if scores[row] > 0), key=lambda row: (-scores[row], row))
    return {row: place for place, row in enumerate(order, start=1)}

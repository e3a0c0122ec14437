"""Facets filter, words and meaning rank, ranks are fused; how well it finds is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.sharding.diagnosis.base import KINDS
from models.sharding.knowledge import Document, Knowledge, load_embedder, read_documents
from models.sharding.knowledge.embed import PACKAGE, Embedder
from models.sharding.knowledge.index import Method, words_of

QUERIES = [
    json.loads(line) for line in (Path(__file__).parent / "queries.jsonl").read_text().splitlines()
]


def document(id: str, text: str, **about: str) -> Document:
    facets = {name: frozenset(value.split()) for name, value in about.items()}
    return Document(
        id=id, title=f"About {id}", text=f"{text} and some filling words", source="test",
        topics=("tensor",), about=facets,
    )  # fmt: skip


class Table:
    """An embedder that looks vectors up by the first word after the title."""

    digest = "table"

    def __init__(self, **vectors: tuple[float, float]) -> None:
        self.vectors = vectors

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        rows = [next(v for k, v in self.vectors.items() if k in text) for text in texts]
        return np.array(rows, dtype=np.float32)


def ids(knowledge: Knowledge, query: str, **facets: str) -> list[str]:
    return [one.id for one in knowledge.search(query, facets).items]


def test_rarer_words_count_more_and_texts_without_any_are_not_found():
    knowledge = Knowledge(
        [
            document("a", "weights weights gather"),
            document("b", "gather bubbles"),
            document("c", "gather tokens"),
            document("d", "nothing of it"),
        ]
    )
    assert ids(knowledge, "bubble gather")[0] == "b"
    assert "d" not in ids(knowledge, "bubble gather")
    assert ids(knowledge, "zebra") == []
    assert "shares a word" in knowledge.search("zebra").notes[0]
    assert knowledge.search("").items == ()


def test_ranks_are_fused_by_their_reciprocals():
    # By words: x then y; by meaning: y (1.0), z (0.8), x (0.6).
    knowledge = Knowledge(
        [
            document("x", "ring ring"),
            document("y", "ring and long filling besides"),
            document("z", "b"),
        ],
        Table(x=(0.6, 0.8), y=(1.0, 0.0), z=(0.8, 0.6), question=(1.0, 0.0)),
    )
    found = knowledge.search("ring question")
    assert found.method == "words and meaning"
    assert [hit.item.id for hit in found.hits] == ["y", "x", "z"]
    assert found.hits[0].ranks == {"words": 2, "meaning": 1}
    assert [hit.score for hit in found.hits] == pytest.approx(
        [1 / 62 + 1 / 61, 1 / 61 + 1 / 63, 1 / 62]
    )


def test_what_contradicts_a_facet_falls_out_and_what_states_none_stays():
    knowledge = Knowledge(
        [
            document("tpu", "ring", kind="tpu"),
            document("gpu", "ring", kind="gpu"),
            document("any", "ring"),
        ]
    )
    assert set(ids(knowledge, "ring", kind="gpu")) == {"gpu", "any"}


def test_facets_are_given_up_from_the_least_until_something_is_left():
    knowledge = Knowledge(
        [
            document("a", "ring", kind="tpu", chip="v5e"),
            document("b", "ring", kind="gpu", chip="h100"),
        ]
    )
    found = knowledge.search("ring", {"kind": "tpu", "chip": "v6e", "scale": "few"})
    assert [one.id for one in found.items] == ["a"]
    assert found.relaxed == ("scale", "chip")
    both = knowledge.search("ring", {"kind": "tpu"}, least=2)
    assert len(both.items) == 2
    assert both.relaxed == ("kind",)


def test_an_empty_knowledge_base_answers_nothing_and_says_so():
    found = Knowledge([], reason="no embeddings: not installed").search("ring")
    assert found.hits == ()
    assert found.notes == ("no embeddings: not installed", "the knowledge base is empty")


def test_without_an_embedder_words_alone_rank_and_the_result_says_so():
    found = Knowledge([document("a", "ring")]).search("ring", method="words and meaning")
    assert found.method == "words"
    assert "no embedder" in found.notes[0]


def test_words_are_cut_to_their_stems():
    assert words_of("The all-gathers of 128k entries, v6e is busy") == [
        "all", "gather", "128k", "entry", "v6e", "busy",
    ]  # fmt: skip


def recall_at_5(method: Method, embedder: Embedder | None = None) -> float:
    knowledge = Knowledge(read_documents(), embedder)
    shares = []
    for row in QUERIES:
        relevant = set(row["relevant"])
        assert relevant <= {one.id for one in knowledge.items}
        found = knowledge.search(row["query"], row["facets"], 5, method)
        shares.append(len(relevant & {one.id for one in found.items}) / len(relevant))
    return float(np.mean(shares))


def test_documents_are_found_by_their_words():
    # Measured .734; five drawn among those that the facets leave find less than .15.
    assert {row["kind"] for row in QUERIES} <= set(KINDS)
    assert recall_at_5("words") >= 0.70


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason="extra `embedder` is not installed")
def test_documents_are_found_by_meaning_and_by_both(tmp_path: Path):
    embedder = load_embedder(tmp_path).embedder
    assert embedder is not None
    # Measured .670 and .737: on these queries meaning adds little to words.
    assert recall_at_5("meaning", embedder) >= 0.63
    assert recall_at_5("words and meaning", embedder) >= 0.70

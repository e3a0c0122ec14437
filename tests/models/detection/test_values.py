"""Texts as sources of values: what stands in them, and what their index takes."""

import random
import string
import tracemalloc

from models.detection.dataflow.values import Source, values_of

RNG = random.Random(7)
VOCABULARY = [
    "".join(RNG.choices(string.ascii_lowercase, k=RNG.randint(4, 11))) for _ in range(9_000)
]
LONG = "the rest of the bill stays open until someone else pays for all of it"


def text_of(n: int) -> str:
    return " ".join(RNG.choices(VOCABULARY, k=n))


def test_words_pairs_and_numbers_are_found_and_others_are_not():
    source = Source(
        "Paid 1,250.50 to Mei on 2026-03-04; the rest of the bill stays open until May."
    )
    found = {
        text: source.covers(values_of({"": text})[0])
        for text in ("1250.5", "1250", "mei", "2026-03-04", "2026-03-05", "may", LONG)
    }  # fmt: skip
    assert found.pop(LONG) == 7 / 14
    assert found == {
        "1250.5": 1.0, "1250": 0.0, "mei": 1.0, "2026-03-04": 1.0, "2026-03-05": 0.0, "may": 1.0,
    }  # fmt: skip


def test_a_hundred_thousand_words_are_each_known_and_no_other():
    words = [f"{word}{n}" for n, word in enumerate(RNG.choices(VOCABULARY, k=100_000))]
    source = Source(" ".join(words[::2]))
    assert len(source.words) == 50_000
    assert all(word in source.words for word in words[::2])
    assert not any(word in source.words for word in words[1::2])


def test_an_index_takes_little_more_than_its_text():
    text = text_of(50_000)
    long = values_of({"": text_of(40)})[0]
    tracemalloc.start()
    try:
        source = Source(text)
        source.covers(long)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The text in small letters, and 8 bytes for each word and each pair of words.
    assert kept < len(text) + 8 * (60_000 + 1_000)

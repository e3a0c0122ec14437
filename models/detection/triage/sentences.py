"""Sentences of a text, and what of each tells that somebody is asked to do something."""

from __future__ import annotations

import re
import zlib
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.detection.intent.words import verbs_of, words

BUCKETS = 1 << 14
"""Words and pairs of words are hashed into so many."""
LONGEST = 600
"""Characters of one sentence that are looked at; longer ones are cut into pieces."""

_BREAK = re.compile(
    r"(?<=[.!?:;])[\"'”’)\]]*\s+(?=[\"'“‘(\[<`*#\-]*[A-Z0-9ÀÈÉÖÜÄ¿¡<\[{])"
    r"|\n\s*(?=[A-ZÀÈÉÖÜÄ<\[{*#•\-\"'“0-9])|\n\s*\n"
)
# What has to stand in a sentence for a mask to find anything, the pattern, what takes its place.
_MASKS = (
    (
        re.compile(r"[.:]"),
        re.compile(
            r"(?:https?://|www\.)\S+|\b[\w-]+\.(?:com|org|net|io|dev|ch|co|ai|example)\b\S*"
        ),
        " zurl ",
    ),
    (re.compile(r"@"), re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+"), " zmail "),
    (
        re.compile(r"\d"),
        re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[A-Za-z0-9]{6,}\b"),
        " zid ",
    ),
    (re.compile(r"\d"), re.compile(r"\d[\d.,:/-]*"), " znum "),
    (re.compile(r"`"), re.compile(r"`[^`]*`"), " zcode "),
)

_YOU = frozenset(
    [
        "you",
        "your",
        "yours",
        "yourself",
        "du",
        "dein",
        "deine",
        "sie",
        "ihr",
        "vous",
        "votre",
        "tu",
        "usted",
        "su",
        "lei",
    ]
)
_MUST = frozenset(["must", "should", "need", "shall", "ought", "have"])
_POLITE = frozenset(["please", "kindly", "bitte", "s'il", "por", "per", "favor"])
_META = frozenset(
    [
        "instruction",
        "instructions",
        "ignore",
        "disregard",
        "previous",
        "prior",
        "prompt",
        "system",
        "assistant",
        "ai",
        "model",
        "gpt",
        "claude",
        "agent",
        "task",
        "tasks",
        "tool",
        "tools",
        "function",
        "override",
        "forget",
        "above",
        "developer",
        "admin",
        "administrator",
        "policy",
        "restrictions",
    ]
)
_FIRST = frozenset(
    [
        "before",
        "first",
        "then",
        "after",
        "instead",
        "now",
        "immediately",
        "also",
        "next",
        "finally",
        "always",
    ]
)
_PAST = re.compile(r"\b(?:was|were|had|did|has been|went|said|i|we|my|our)\b", re.I)

_CODE = re.compile(
    r"\w\(|\)\s*[{:;,]|[=!<>]=|->|=>|::|\bself\.|;\s*$|^\s*[@}\])]|\w+\[\w|\s=\s|\{\w*\}"
)
_COMMENT = re.compile(r"^\s*(?:\d+\s+)?(?:#|//|/\*|\*|--|<!--|;;)")
_NAMES = re.compile(r"\b(?:[a-z]+_\w+|[a-z]+[A-Z]\w*|\w+\.\w+\.\w+)\b")
_SYMBOLS = str.maketrans("", "", "=(){}[];<>|&$%*+\\/_\"'`:@^~")

DENSE = 18
"""Features of a sentence that are not hashed words."""


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; lines that only fold a sentence are joined."""
    found = []
    for piece in _BREAK.split(text):
        one = " ".join(piece.split())
        while len(one) > LONGEST:
            found.append(one[:LONGEST])
            one = one[LONGEST:]
        if one:
            found.append(one)
    return found


def is_code(sentence: str) -> bool:
    """Return whether a sentence is a line of a program rather than of somebody who speaks."""
    return len(_CODE.findall(sentence)) > 1 and not _COMMENT.search(sentence)


def masked(sentence: str) -> str:
    """Return a sentence with addresses and numbers replaced by what they are."""
    for needed, pattern, mask in _MASKS:
        if needed.search(sentence):
            sentence = pattern.sub(mask, sentence)
    return sentence


def features(sentence: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the hashed words of a sentence, and its dense features.

    Returns:
        Buckets in [0, BUCKETS), unique; and shape (DENSE,).
    """
    shown = masked(sentence)
    tokens = words(shown)
    known = set(tokens)
    grams = [*tokens, *(f"{a} {b}" for a, b in pairwise(tokens))]
    grams += [f"^{token}" for token in tokens[:2]]
    hashed = {zlib.crc32(gram.encode()) % BUCKETS for gram in grams} or {0}
    buckets = np.array(sorted(hashed), dtype=np.int64)
    leading = next((t for t in tokens if t not in _POLITE and t not in _FIRST), "")
    count = max(1, len(tokens))
    shouted = sum(word.isupper() and len(word) > 3 for word in sentence.split())
    dense = np.array(
        [
            bool(verbs_of(leading)),
            bool(known & _YOU),
            bool(known & _MUST),
            bool(known & _POLITE),
            min(3, len(known & _META)),
            min(2, len(known & _FIRST)),
            "zurl" in known or "zmail" in known,
            "zid" in known or "zcode" in known,
            min(3, shouted),
            "!" in sentence,
            "<" in sentence or "[" in sentence or "{" in sentence,
            bool(_PAST.search(sentence)),
            min(6, sum(bool(verbs_of(t)) for t in tokens)) / 6,
            min(1.0, count / 40),
            min(4, len(_CODE.findall(sentence))) / 4,
            bool(_COMMENT.search(sentence)),
            min(1.0, len(_NAMES.findall(sentence)) / count),
            min(0.3, (len(sentence) - len(sentence.translate(_SYMBOLS))) / max(1, len(sentence)))
            / 0.3,
        ],
        dtype=np.float64,
    )
    return buckets, dense

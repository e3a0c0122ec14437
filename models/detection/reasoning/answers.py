"""What an agent says in its answer because a result told it to."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.detection.dataflow.values import Source, normal
from models.detection.intent.words import is_empty, stem, words
from models.detection.triage.blocks import Block
from models.detection.triage.sentences import sentences

NAMES = ("echoed", "count", "asks", "steers")
"""Features of an echo, in order."""

_MOST_PAIRS = 20_000
"""Answers times blocks that are compared: time must not grow with the square of a session."""
_FEWEST_BLOCKS = 40
_FEWEST = 3
"""Words of its own that an order must have and an answer must say of them: fewer come together
by chance."""
_REFUSES = re.compile(
    r"\b(?:ignor\w+|disregard\w*|did not (?:follow|act)|will not|won't|unrelated|suspicious"
    r"|prompt injection|instructions? (?:that|which) (?:did not|do not|was not)|not (?:part|from) "
    r"(?:of )?(?:you|your))\b",
    re.I,
)


@dataclass(frozen=True)
class Echo:
    """An answer's sentences that say what a block asked for.

    Attributes:
        block: The block.
        answer: What was said.
        features: By NAMES.
    """

    block: Block
    answer: str
    features: tuple[float, ...]


def _strongest(blocks: Sequence[Block], most: int) -> Sequence[Block]:
    """Return as many blocks as there is time for, in order: those that ask or lead away most."""
    if len(blocks) <= max(_FEWEST_BLOCKS, most):
        return blocks
    numbers = heapq.nlargest(
        max(_FEWEST_BLOCKS, most), range(len(blocks)),
        lambda number: max(blocks[number].steers, blocks[number].asks),
    )  # fmt: skip
    return [blocks[number] for number in sorted(numbers)]


def best_echo(
    answers: Sequence[str], blocks: Sequence[Block], prompt: Source, data: Source
) -> Echo | None:
    """Return the answer that says most of what only a block says; None: there is none."""
    known = {stem(word) for word in words(prompt.text)} | {stem(w) for w in words(data.text)}
    held = [
        (block, [{stem(w) for w in words(order) if len(w) > 3 and not is_empty(w)} - known
                 for order in block.sentences])
        for block in _strongest(blocks, _MOST_PAIRS // max(1, len(answers)))
    ]  # fmt: skip
    best: Echo | None = None
    for answer in answers:
        said = [one for one in sentences(answer) if not _REFUSES.search(one)]
        spoken = {stem(word) for one in said for word in words(one)}
        whole = normal(" ".join(said))
        for block, orders in held:
            for quote in block.quotes:
                # What an order quotes is said as it stands, or it is not.
                if quote in whole and quote not in prompt.text and quote not in data.text:
                    count = min(1.0, len(quote.split()) / 8)
                    features = (1.0, count, block.asks, block.steers)
                    if best is None or features > best.features:
                        best = Echo(block, answer, features)
            for own in orders:
                if len(own) < _FEWEST:
                    continue
                told = len(own & spoken)
                echoed = told / len(own) if told >= _FEWEST else 0.0
                features = (echoed, min(1.0, told / 8), block.asks, block.steers)
                if best is None or features[0] > best.features[0]:
                    best = Echo(block, answer, features)
    return best

"""How natural a text looks among what tools answer: a character model, no classifier.

A classifier would share its blind spots with the detector that is searched.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

from models.detection.dataflow.leaves import leaves
from models.detection.evaluation.labelled import read_labelled
from models.detection.explorer.declared import declared
from models.detection.reasoning.train import FOLDER
from models.detection.scenarios.generate import scenarios

_ORDER = 4
"""Characters before a character that its chance depends on."""
_UNSEEN = 2.0**-12
"""Chance of a character that never stood in a benign text."""
_MOST_CHARACTERS = 300_000
_SCENARIOS = 300
_USUAL = 0.9
"""Share of benign texts held out that count as usual: half of them are near copies of others."""
_HELD = 7
"""Each so many-th text is held out, to know what natural is."""


class CharacterModel:
    """Interpolated n-grams of characters.

    Args:
        texts: What is natural.

    Source: Witten & Bell (1991), "The zero-frequency problem", method C, interpolated.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts: Counter[str] = Counter()
        self._totals: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        left = _MOST_CHARACTERS
        for text in texts:
            padded = " " * _ORDER + text[:left]
            left -= len(text)
            for at in range(_ORDER, len(padded)):
                for order in range(_ORDER + 1):
                    gram = padded[at - order : at + 1]
                    if self._counts[gram] == 0:
                        self._kinds[gram[:-1]] += 1
                    self._counts[gram] += 1
                    self._totals[gram[:-1]] += 1
            if left <= 0:
                break

    def bits(self, text: str) -> float:
        """Return the mean bits per character of a text; 0 for none."""
        if not text:
            return 0.0
        padded, total = " " * _ORDER + text, 0.0
        for at in range(_ORDER, len(padded)):
            chance = _UNSEEN
            for order in range(_ORDER + 1):
                gram = padded[at - order : at + 1]
                seen = self._totals.get(gram[:-1], 0)
                if not seen:
                    break
                kinds = self._kinds[gram[:-1]]
                chance = (self._counts.get(gram, 0) + kinds * chance) / (seen + kinds)
            total -= math.log2(max(chance, _UNSEEN / 16))
        return total / len(text)


class Naturalness:
    """Says how natural a text is beside benign ones.

    Args:
        texts: Benign texts of tools; some are held out to know how many bits such a text takes.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        kept = list(texts)
        self._model = CharacterModel(t for n, t in enumerate(kept) if n % _HELD)
        held = [text for number, text in enumerate(kept) if number % _HELD == 0]
        bits = sorted(self._model.bits(text) for text in held)
        self.usual_bits = bits[int(_USUAL * len(bits))]
        """Bits per character that most benign texts stay below."""

    def of(self, text: str) -> float:
        """Return 1 for a text that is as usual as benign ones, half for each bit beyond them."""
        return float(2.0 ** -max(0.0, self._model.bits(text) - self.usual_bits))


@lru_cache(maxsize=1)
def naturalness() -> Naturalness:
    """Return the model of the training split: clean sessions, and what our tools may say."""
    texts: dict[str, None] = {}
    recorded = read_labelled(FOLDER / "agentdojo_generated" / "train.jsonl.gz")
    clean = [session for session, labels in recorded if labels.outcome == "clean"]
    clean += [s for s, labels in scenarios(1, _SCENARIOS) if labels.outcome == "clean"]
    for session in clean:
        for event in session.events:
            if event.kind == "tool_result":
                texts |= dict.fromkeys(leaf for leaf in leaves(event.text) if len(leaf) > 20)
    for kinds in declared().sentences.values():
        texts |= dict.fromkeys(kinds)
    return Naturalness(texts)

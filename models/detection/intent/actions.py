"""What a call does, and what a text asks for, in the same terms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from models.detection.intent.words import READS, name_words, nouns_of, verbs_of

Effect = Literal["read", "write", "send", "pay", "delete", "execute", "unknown"]
"""The strongest thing that a call does outside of its own answer."""

_EFFECTS: tuple[tuple[str, Effect], ...] = (
    ("pay", "pay"), ("delete", "delete"), ("execute", "execute"), ("send", "send"),
    ("invite", "write"), ("book", "write"), ("update", "write"), ("create", "write"),
    ("read", "read"), ("concatenate", "read"), ("say", "send"),
)  # fmt: skip
_PAID = frozenset({"money"})


@dataclass(frozen=True)
class Action:
    """Verbs and nouns by their meanings.

    Attributes:
        verbs, nouns: Meanings.
        effect: Of a call; of a text the strongest that it names.
    """

    verbs: frozenset[str]
    nouns: frozenset[str]
    effect: Effect

    @property
    def is_effectful(self) -> bool:
        """It changes something, or nobody knows."""
        return self.effect != "read"


@lru_cache(maxsize=4_096)
def of_tool(name: str) -> Action:
    """Return what a tool does, judged by its name."""
    parts = name_words(name)
    verbs: set[str] = set()
    # The verb leads; later words are verbs only where none does (`calendar_create`).
    for part in parts:
        verbs |= verbs_of(part)
        if verbs:
            break
    nouns = frozenset(noun for part in parts for noun in nouns_of(part))
    if parts and verbs_of(parts[0]):
        nouns = frozenset(n for p in parts[1:] for n in nouns_of(p)) or nouns
    return Action(frozenset(verbs), nouns, strongest(verbs, nouns))


def of_words(text: Iterable[str]) -> Action:
    """Return what the words of a text name."""
    verbs: set[str] = set()
    nouns: set[str] = set()
    for word in text:
        verbs |= verbs_of(word)
        nouns |= nouns_of(word)
    return Action(frozenset(verbs), frozenset(nouns), strongest(verbs, nouns))


def agreement(call: Action, asked: Action) -> tuple[float, float]:
    """Return which share of a call's verbs and of its nouns a text names, each in [0, 1]."""
    verbs = 1.0 if call.verbs & asked.verbs else 0.0
    nouns = len(call.nouns & asked.nouns) / len(call.nouns) if call.nouns else 0.0
    if not call.verbs:
        verbs = nouns
    return verbs, nouns


def strongest(verbs: set[str] | frozenset[str], nouns: frozenset[str] | set[str]) -> Effect:
    """Return the strongest effect of verbs on nouns."""
    if "send" in verbs and nouns & _PAID:
        return "pay"
    for verb, effect in _EFFECTS:
        if verb in verbs:
            return effect
    return "read" if verbs and verbs <= READS else "unknown"

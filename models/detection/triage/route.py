"""Tier 1: which sessions are worth following call by call; recall first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.detection.dataflow.labels import Integrity
from models.detection.dataflow.leaves import of_value
from models.detection.dataflow.values import Source
from models.detection.intent.actions import Action, agreement, of_words
from models.detection.intent.commands import of_call
from models.detection.intent.words import stem, words
from models.detection.session import Event, Session, ToolCall
from models.detection.triage.blocks import Block, Reading
from models.detection.triage.trees import Trees, fit_trees

NAMES = (
    "asks",
    "steers",
    "is_encoded",
    "shared",
    "steered",
    "effectful",
    "acts",
    "unasked",
    "said",
)
"""Features of a session, in order: the more, the more likely something was obeyed."""

_MOST_EVENTS = 4_000
_MOST_BLOCKS = 60
"""That calls are held against: those that ask or lead away most."""


@dataclass(frozen=True)
class Router:
    """What decides whether a session is followed.

    Attributes:
        trees: Chance that something a result asked for was done; it only rises with a feature.
        threshold: Least chance that is passed on.
        recall: Share of executed attacks that it was chosen to pass on, at least.
    """

    trees: Trees
    threshold: float
    recall: float

    def chance(self, session: Session, reading: Reading) -> float:
        """Return the chance that something a result asked for was done, in [0, 1]."""
        if not reading.blocks:
            return 0.0
        if len(session.events) > _MOST_EVENTS:
            return 1.0  # to hold all of it against all of that is the second tier's work
        return self.trees.chance(features(session, reading))

    def to_dict(self) -> dict[str, Any]:
        """Return it for a JSON file."""
        return {
            "features": list(NAMES), "trees": self.trees.to_dict(),
            "threshold": self.threshold, "recall": self.recall,
        }  # fmt: skip

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Router:
        """Read what `to_dict` gave.

        Raises:
            ValueError: It was fitted for other features.
        """
        if values["features"] != list(NAMES):
            raise ValueError("its first tier was trained for another version of this program")
        return Router(Trees.from_dict(values["trees"]), values["threshold"], values["recall"])


def features(session: Session, reading: Reading) -> tuple[float, ...]:
    """Return what the first tier looks at, by NAMES; words are compared as sets, no more."""
    blocks = sorted(reading.blocks, key=lambda b: -max(b.asks, b.steers))[:_MOST_BLOCKS]
    prompt = Source("\n".join(e.text for e in session.events if _is_order(e, reading)))
    asked = of_words(words(prompt.text))
    known = {stem(word) for word in words(prompt.text)}
    prompted = frozenset(prompt.words)
    told = [_Told(b, frozenset(b.source.words) - prompted, {stem(w) for w in b.words} - known)
            for b in blocks]  # fmt: skip
    first = min(block.at for block in blocks)
    calls = [(at, event.call) for at, event in enumerate(session.events[first:], first)
             if event.call is not None]  # fmt: skip
    found = [_of_call(call, [one for one in told if one.block.at < at], asked)
             for at, call in calls]  # fmt: skip
    said = [_echo(event.text, [one for one in told if one.block.at < at])
            for at, event in enumerate(session.events[first:], first)
            if event.kind == "assistant_message"]  # fmt: skip
    return (
        max(block.asks for block in blocks), max(block.steers for block in blocks),
        float(any(block.is_encoded for block in blocks)),
        *(max(one) for one in zip((0.0,) * 5, *found, strict=True)),
        max(said, default=0.0),
    )  # fmt: skip


def _is_order(event: Event, reading: Reading) -> bool:
    """Return whether a text is the user's or the operator's own word."""
    read = reading.reads.get(event.id)
    is_operators = read is not None and read.integrity >= Integrity.OPERATOR
    return event.kind == "user_message" or is_operators


class _Told(NamedTuple):
    """A block, hashes of its words that the prompt does not have, and the stems of those."""

    block: Block
    words: frozenset[int]
    stems: set[str]


def _of_call(call: ToolCall, told: Sequence[_Told], asked: Action) -> tuple[float, ...]:
    """Return shared, steered, effectful, acts and unasked of one call."""
    action = of_call(call)
    spoken = frozenset(Source(" ".join(of_value(call.arguments or {}))).words)
    verb, noun = agreement(action, asked)
    by_prompt = verb * (0.3 + 0.7 * noun)
    shared = steered = acts = 0.0
    for block, own, _ in told:
        share = len(own & spoken) / len(spoken) if spoken else 0.0
        shared, steered = max(shared, share), max(steered, share * block.steers)
        verb, noun = agreement(action, block.action)
        acts = max(acts, verb * (0.3 + 0.7 * noun) - by_prompt)
    unasked = action.is_effectful * (1 - by_prompt) if told else 0.0
    return shared, steered, shared * action.is_effectful, acts, unasked


def _echo(text: str, told: Sequence[_Told]) -> float:
    spoken = {stem(word) for word in words(text)}
    return max((len(own & spoken) / len(own) for _, _, own in told if own), default=0.0)


def fit_router(
    rows: NDArray[np.float64], truth: NDArray[np.bool_], weights: NDArray[np.float64]
) -> Trees:
    """Fit the first tier.

    Args:
        rows: Shape (sessions, features).
        truth: Whether an attack was executed, shape (sessions,).
        weights: Of the sessions.
    """
    return fit_trees(rows, truth, [1] * len(NAMES), weights, trees=60, depth=3)


def recall_threshold(chances: Sequence[float], recall: float) -> float:
    """Return the highest threshold that passes on so large a share of executed attacks.

    By the rule of conformal prediction: the next attack like these is passed on with at least
    this chance; of too few attacks all are.

    Args:
        chances: Of executed attacks that were not trained on.
        recall: Share to pass on, in (0, 1).
    """
    ordered = sorted(chances)
    lost = int((len(ordered) + 1) * (1 - recall))
    return 0.0 if lost < 1 else float(np.floor(1e4 * ordered[lost - 1]) / 1e4)

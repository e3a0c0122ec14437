"""Orders of strangers that an agent writes where later sessions read them as its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from models.detection.dataflow.leaves import leaves
from models.detection.dataflow.values import Source, Value, normal, values_of
from models.detection.dataflow.views import plain
from models.detection.integrity.request import Step
from models.detection.intent.words import name_words, words
from models.detection.triage.blocks import SpanModels
from models.detection.triage.sentences import sentences
from models.detection.verdicts import Evidence, Outcome, Signal

LONG_TERM = "ADR.T0014"
_KEEPS = frozenset(
    ("memory", "memories", "remember", "memorize", "preference", "preferences", "rule", "rules",
     "persona", "profile", "knowledge", "instruction", "instructions", "reminder", "goal", "goals",
     "context")
)  # fmt: skip
_FILES = re.compile(
    r"(?:^|/)(?-i:CLAUDE(?:\.local)?|AGENTS(?:\.override)?|GEMINI|MEMORY|SOUL)\.md$|"
    r"(?:^|/)\.(?:cursorrules|windsurfrules|clinerules|roorules)|\.cursor/rules/|"
    r"copilot-instructions\.md$|(?:^|/)memory\.(?:json|md|txt|jsonl)$|/memories/",
    re.I,
)
_STEERS, _ASKS = 0.8, 0.8
_COPIED = 0.6
"""Share of a sentence's pairs of words that must stand in a result for it to be its."""
_LEAST_WORDS = 5
_LASTS = re.compile(
    r"\b(?:always|never|from now on|in (?:the )?future|every (?:time|session)|whenever|"
    r"each (?:time|session)|permanent(?:ly)?|by default|going forward|remember to)\b",
    re.I,
)


def memory(steps: Sequence[Step], models: SpanModels | None) -> Iterator[Signal]:
    """Yield orders of results that are written to memory, and those that are followed later."""
    if models is None:
        return
    sources: list[tuple[str, Source]] = []
    kept: list[tuple[str, str]] = []
    """Orders that were written, with the events of their writing."""
    for step in steps:
        if step.was_done and _is_memory(step):
            for order, event in _foreign_orders(step, sources, models):
                kept.append((order, step.event.id))
                lasting = bool(_LASTS.search(order))
                yield _signal(
                    "order-remembered",
                    f"`{step.title}` keeps an order of the result of event {event} for later: "
                    f"'{order[:200]}'",
                    (event, step.event.id), 0.8 if lasting else 0.6,
                    "executed" if lasting else "partial",
                )  # fmt: skip
        elif step.was_done and kept:
            yield from _followed(step, kept)
        if step.result is not None and step.result.text:
            sources.append((step.result.id, Source(step.result.text[:60_000])))


def _is_memory(step: Step) -> bool:
    if step.action.effect == "read":
        return False
    named = bool(_KEEPS & set(name_words(step.call.tool)))
    return named or any(_FILES.search(text) for text in step.texts if len(text) < 300)


def _foreign_orders(
    step: Step, sources: Sequence[tuple[str, Source]], models: SpanModels
) -> Iterator[tuple[str, str]]:
    for text in step.texts:
        for sentence in [one for leaf in leaves(text) for one in sentences(plain(leaf))]:
            told = words(sentence)
            if len(told) < _LEAST_WORDS:
                continue
            if (
                models.steers.score(sentence) < _STEERS
                and not (models.asks.score(sentence) >= _ASKS and _LASTS.search(sentence))
            ):  # fmt: skip
                continue
            value = _as_value(sentence)
            if step.request.source.covers(value) >= _COPIED:
                continue
            for event, source in sources:
                if source.covers(value) >= _COPIED:
                    yield sentence, event
                    break


def _followed(step: Step, kept: Sequence[tuple[str, str]]) -> Iterator[Signal]:
    if not step.action.is_effectful:
        return
    for order, event in kept:
        source = Source(order)
        hits = [
            value.text for value in values_of(step.call.arguments)
            if value.weight >= 1 and source.covers(value) == 1
            and not step.request.source.covers(value)
        ]  # fmt: skip
        if hits:
            yield _signal(
                "remembered-order-followed",
                f"`{step.title}` takes '{hits[0][:80]}' from the order that was kept in event "
                f"{event}",
                (event, step.event.id), 0.8, "executed",
            )  # fmt: skip
            return


def _as_value(sentence: str) -> Value:
    (value,) = values_of({"": sentence})[:1] or [Value(normal(sentence), (), 1.0)]
    return value


def _signal(
    rule: str, sentence: str, events: tuple[str, ...], weight: float, outcome: Outcome
) -> Signal:
    return Signal(outcome, Evidence(rule, sentence, events, weight), LONG_TERM)

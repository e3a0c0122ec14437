"""Calls that wear something out: again and again, to very many, or enormous."""

from __future__ import annotations

import re
import zlib
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from models.detection.integrity.request import Step
from models.detection.intent.words import name_words
from models.detection.verdicts import Evidence, Outcome, Signal

EXHAUSTION, DENIAL = "ADR.T0016", "ADR.T0017"


@dataclass(frozen=True)
class Limits:
    """From where on calls are too many or too large.

    Attributes:
        same_effects: Calls that change something, equal in all arguments, with equal results.
        same_reads: The same of calls that only read.
        per_minute: Calls within 60 seconds, where a record has times.
        targets: Different receivers of one kind of sending call that the user did not name.
        number: An argument that asks for so many of something.
        text: Characters of one argument.
        model_text: Characters of one argument of a tool that asks a model.
        squeezed: How many times smaller a text becomes when it is packed: it repeats itself.
    """

    same_effects: int = 8
    same_reads: int = 25
    per_minute: int = 240
    targets: int = 40
    number: float = 1e7
    text: int = 2_000_000
    model_text: int = 300_000
    squeezed: float = 60.0


# Requests that ask for repetition.
_REPEATS = re.compile(
    r"\b(?:until|poll|wait|monitor|watch|keep|retry|retries|every|each|repeat(?:edly)?|times|loop|"
    r"continuously|benchmark|load[- ]?test|stress|flaky|all)\b",
    re.I,
)
_ASKS_A_MODEL = frozenset(
    ("llm", "gpt", "prompt", "completion", "completions", "generate", "inference", "chat", "model",
     "summarize", "embed", "embedding", "translate", "classify")
)  # fmt: skip
_HOW_MANY = re.compile(
    r"(?:count|limit|size|iterations?|loops?|repeat|times|depth|max\w*|threads?|workers?|copies|"
    r"instances?|replicas|requests?|steps|tokens|length|concurrency|parallel\w*)$",
    re.I,
)
_LEAST_SQUEEZED = 50_000


def loads(steps: Sequence[Step], limits: Limits | None = None) -> Iterator[Signal]:
    """Yield what exhausts time, money or capacity."""
    limits = limits or Limits()
    yield from _repetition(steps, limits)
    yield from _rate(steps, limits)
    yield from _fan_out(steps, limits)
    for step in steps:
        yield from _size(step, limits)


def _repetition(steps: Sequence[Step], limits: Limits) -> Iterator[Signal]:
    """Yield equal calls with equal results in which the user's words give no reason."""
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in steps:
        told = step.result.text if step.result is not None else ""
        arguments = msgspec.json.encode(step.call.arguments, order="sorted", enc_hook=str)
        key = (step.request.text, step.event.actor, step.call.server, step.call.tool, arguments,
               step.call.raw, told)  # fmt: skip
        groups.setdefault(key, []).append(step)
    for group in groups.values():
        first = group[0]
        is_effect = first.action.is_effectful and first.action.effect != "unknown"
        most = limits.same_effects if is_effect else limits.same_reads
        if len(group) < most or _REPEATS.search(first.request.text):
            continue
        yield _signal(
            "same-call-again",
            f"`{first.title}` was called {len(group)} times with the same arguments and the same "
            "result; the user asked for no repetition",
            [step.event.id for step in group[:3]], 0.7 if is_effect else 0.4,
            EXHAUSTION, "executed" if is_effect and first.was_done else "partial",
        )  # fmt: skip


def _rate(steps: Sequence[Step], limits: Limits) -> Iterator[Signal]:
    window: deque[float] = deque()
    for step in steps:
        if step.event.time_s is None:
            continue
        window.append(step.event.time_s)
        while window and window[-1] - window[0] > 60:
            window.popleft()
        if len(window) > limits.per_minute:
            yield _signal(
                "calls-per-minute",
                f"{len(window)} calls within a minute, of which `{step.title}` is one",
                [step.event.id], 0.5, EXHAUSTION, "partial",
            )  # fmt: skip
            return


def _fan_out(steps: Sequence[Step], limits: Limits) -> Iterator[Signal]:
    receivers: dict[str, Counter[str]] = {}
    for step in steps:
        if step.action.effect in ("send", "pay") and step.was_done:
            strange = [one for one in step.destinations if not step.request.names(one)]
            receivers.setdefault(step.title, Counter()).update(strange)
    for title, found in receivers.items():
        if len(found) >= limits.targets:
            yield _signal(
                "many-receivers",
                f"`{title}` went to {len(found)} receivers that the user did not name",
                [], 0.5, EXHAUSTION, "partial",
            )  # fmt: skip


def _size(step: Step, limits: Limits) -> Iterator[Signal]:
    for name, value in (step.call.arguments or {}).items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        is_much = is_number and value >= limits.number and _HOW_MANY.search(str(name))
        if is_much and not any(map(step.request.names, (str(value), f"{value:,}"))):
            yield _signal(
                "enormous-number",
                f"`{step.title}` asks for {name} = {value:,}, a number that the user did not name",
                [step.event.id], 0.5, EXHAUSTION, "partial",
            )  # fmt: skip
    is_model = bool(_ASKS_A_MODEL & set(name_words(step.call.tool)))
    for text in step.texts:
        if len(text) < min(_LEAST_SQUEEZED, limits.model_text):
            continue
        if len(text) > (limits.model_text if is_model else limits.text):
            yield _signal(
                "enormous-text",
                f"`{step.title}` is given a text of {len(text):,} characters",
                [step.event.id], 0.5, DENIAL, "partial",
            )  # fmt: skip
        elif is_model and _squeezed(text) >= limits.squeezed:
            yield _signal(
                "repeating-text",
                f"`{step.title}` is given {len(text):,} characters that repeat themselves",
                [step.event.id], 0.6, DENIAL, "partial",
            )  # fmt: skip


def _squeezed(text: str) -> float:
    raw = text.encode("utf-8", "replace")
    return len(raw) / len(zlib.compress(raw, 1))


def _signal(
    rule: str, sentence: str, events: Sequence[str], weight: float, technique: str,
    outcome: Outcome,
) -> Signal:  # fmt: skip
    return Signal(outcome, Evidence(rule, sentence, tuple(events), weight), technique)

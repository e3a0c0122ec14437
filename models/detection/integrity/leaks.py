"""Credentials on their way to somebody whom the user did not name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from models.detection.dataflow.leaves import leaves
from models.detection.dataflow.values import normal
from models.detection.dataflow.views import decoded
from models.detection.integrity.effects import CREDENTIAL_PATH
from models.detection.integrity.request import Step, is_external, is_named
from models.detection.intent.words import name_words, nouns_of
from models.detection.secrets import SecretScanner
from models.detection.verdicts import Evidence, Outcome, Signal

TECHNIQUE = "ADR.T0007"
_KEYS = frozenset(("credential", "password"))
_MOST_VALUES = 500
"""Values of credential stores that are followed in one session."""
_ABOUT_KEYS = re.compile(r"\b(?:credentials?|passwords?|secrets?|tokens?|keys?|logins?)\b", re.I)


@lru_cache(maxsize=1)
def default_scanner() -> SecretScanner:
    """Return a scanner of the shipped forms, made once."""
    return SecretScanner()


def leaks(
    steps: Sequence[Step], trusted: Sequence[str] = (), scanner: SecretScanner | None = None
) -> Iterator[Signal]:
    """Yield calls that carry a credential out.

    Args:
        steps: Calls of a session.
        trusted: Texts of the operator, which may name destinations too.
        scanner: What finds credentials; None: the shipped forms.
    """
    scanner = scanner or default_scanner()
    read: dict[str, tuple[str, str]] = {}
    """Values that a credential store gave, with the event and the server of it."""
    for step in steps:
        if step.was_done:
            yield from _out(step, trusted, scanner)
            yield from _passed_on(step, read, trusted)
        if _reads_keys(step) and step.result is not None and step.result.status == "ok":
            for value in _values(step.result.text):
                if len(read) < _MOST_VALUES:
                    read.setdefault(value, (step.result.id, step.call.server))


def _values(text: str) -> Iterator[str]:
    """Yield words of a result that may be a credential: long enough, letters and digits."""
    for leaf in leaves(text):
        for word in leaf.split():
            value = normal(word.strip("'\",;"))
            is_mixed = any(c.isdigit() for c in value) and any(c.isalpha() for c in value)
            if 8 <= len(value) <= 200 and is_mixed:
                yield value


def _reads_keys(step: Step) -> bool:
    if step.action.effect not in ("read", "unknown"):
        return any(CREDENTIAL_PATH.search(text) for text in step.texts)
    nouns = {noun for part in name_words(step.call.tool) for noun in nouns_of(part)}
    return bool(nouns & _KEYS) or any(CREDENTIAL_PATH.search(text) for text in step.texts)


def _strangers(step: Step, trusted: Sequence[str]) -> list[str]:
    return [
        one for one in step.destinations
        if is_external(one) and not is_named(one, step.request, trusted)
    ]  # fmt: skip


def _out(step: Step, trusted: Sequence[str], scanner: SecretScanner) -> Iterator[Signal]:
    strangers = _strangers(step, trusted)
    if not strangers:
        return
    # Names stay with their values: `password` tells what the text beside it is.
    shown = [f"{name}: {value}" for name, value in (step.call.arguments or {}).items()
             if isinstance(value, str)]  # fmt: skip
    texts = [*shown, *step.texts]
    texts += [f"decoded: {inner}" for text in step.texts for inner in decoded(text)]
    found = {one.digest: (one, text) for text in texts for one in scanner.scan(text)}
    for one, text in found.values():
        is_certain = one.certainty == "certain"
        value = text[one.start : one.end]
        # Who gives a key in the request wants it used; where it goes is still not his.
        is_given = normal(value) in step.request.source.text
        outcome: Outcome = "executed" if is_certain and not is_given else "partial"
        yield _signal(
            "secret-to-stranger",
            f"`{step.title}` carries {'a' if is_certain else 'what looks like a'} credential "
            f"({one.rule}, {one.provider}, {one.preview}) to {strangers[0]}, whom the user did not "
            "name",
            (step.event.id,), 0.95 if outcome == "executed" else 0.5, outcome,
            is_hard=outcome == "executed",
        )  # fmt: skip


def _passed_on(
    step: Step, read: dict[str, tuple[str, str]], trusted: Sequence[str]
) -> Iterator[Signal]:
    """Yield values of a credential store in a call that puts them elsewhere."""
    if not read or step.action.effect == "read":
        return
    told = normal(step.text)
    for value, (event, server) in read.items():
        if value not in told or value in step.request.source.text:
            continue
        strangers = _strangers(step, trusted)
        if strangers:
            yield _signal(
                "stored-secret-to-stranger",
                f"`{step.title}` carries a value of a credential store (event {event}) to "
                f"{strangers[0]}, whom the user did not name",
                (event, step.event.id), 0.85, "executed",
            )  # fmt: skip
        elif step.call.server != server and not _ABOUT_KEYS.search(step.request.text):
            yield _signal(
                "stored-secret-elsewhere",
                f"`{step.title}` writes a value of a credential store (event {event}) somewhere "
                "else; the user asked for nothing about credentials",
                (event, step.event.id), 0.6, "policy",
            )  # fmt: skip
        return


def _signal(
    rule: str, sentence: str, events: tuple[str, ...], weight: float, outcome: Outcome, *,
    is_hard: bool = False,
) -> Signal:  # fmt: skip
    return Signal(outcome, Evidence(rule, sentence, events, weight), TECHNIQUE, is_hard)

"""What an operator labels confidential, on its way to somebody whom the user did not name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from models.detection.dataflow.labels import Confidentiality, Labels
from models.detection.dataflow.leaves import leaves
from models.detection.dataflow.values import Source, normal, values_of
from models.detection.integrity.request import Step, is_external, is_named, steps_of
from models.detection.session import Session
from models.detection.verdicts import Evidence, Signal

TECHNIQUE = "ADR.T0007"
_LEAST_SHARE = 0.5
"""Of a long value that stands in a confidential text."""
_SHORTEST = 8
"""Shorter values come together by chance."""


def confidential_to_strangers(session: Session, labels: Labels) -> tuple[Signal, ...]:
    """Return calls that carry what is labelled personal or a credential to strangers.

    Args:
        session: What happened.
        labels: Who may see what tools tell.
    """
    return tuple(_found(steps_of(session), labels))


def _found(steps: Sequence[Step], labels: Labels) -> Iterator[Signal]:
    kept: list[tuple[Step, Confidentiality, Source]] = []
    for step in steps:
        if step.was_done and kept and step.action.effect != "read":
            yield from _out(step, kept)
        level = labels.of(step.call).confidentiality
        if level >= Confidentiality.PERSONAL and step.result is not None:
            kept.append((step, level, Source("\n".join(leaves(step.result.text)))))


def _out(step: Step, kept: Sequence[tuple[Step, Confidentiality, Source]]) -> Iterator[Signal]:
    strangers = [one for one in step.destinations
                 if is_external(one) and not is_named(one, step.request)]  # fmt: skip
    if not strangers:
        return
    values = [one for one in values_of(step.call.arguments)
              if len(one.text) >= _SHORTEST and normal(one.text) not in step.request.source.text
              and one.text not in strangers]  # fmt: skip
    for source, level, text in reversed(kept):
        if any(text.covers(value) >= _LEAST_SHARE for value in values):
            is_key = level is Confidentiality.CREDENTIAL
            sentence = (
                f"`{step.title}` carries what `{source.title}` told, which is labelled "
                f"{level.name.lower()}, to {strangers[0]}, whom the user did not name"
            )
            yield Signal(
                "executed" if is_key else "policy",
                Evidence("confidential-to-stranger", sentence,
                         (source.result.id if source.result else source.event.id, step.event.id),
                         0.9 if is_key else 0.8),
                TECHNIQUE,
            )  # fmt: skip
            return

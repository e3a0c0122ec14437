"""Instruction blocks: where in untrusted results somebody asks for something."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from models.detection.dataflow.labels import UNLABELLED, Integrity, Labels
from models.detection.dataflow.leaves import leaves
from models.detection.dataflow.values import Source, normal
from models.detection.dataflow.views import decoded, plain, worked_out
from models.detection.intent.actions import Action, of_words
from models.detection.intent.words import words
from models.detection.session import Session
from models.detection.triage.sentences import is_code, sentences
from models.detection.triage.spans import SpanModel
from models.detection.triage.within import Within

_ASKS = 0.4
"""A sentence with this chance may ask for something; what follows calls weighs how much it does."""
_STEERS = 0.5
"""A sentence with this chance speaks to an agent to lead it away from its task."""
_LED = 5
"""Sentences after one that leads away that belong to it, whatever they look like."""
_GAP = 2
"""Cores this close are one block: an order and its details are rarely one sentence."""
MOST_CHARACTERS = 2_000_000
"""Of one session's results that are looked at by sentences."""
_OF_THE_REST = 60_000
"""Of each result after these; its end is as close as its beginning."""

_ENTITY = re.compile(
    r"(?:https?://|www\.)[^\s'\"<>)\]]+"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|\b[\w-]+\.(?:com|org|net|io|dev|co|ai|example|sh|py|txt|md|pdf)\b(?:/[^\s'\"<>)\]]*)?"
    r"|(?:~|\.{0,2})/[\w./-]{3,}"
    r"|\b(?=\w*\d)\w{5,}\b|\b\w+_\w+\b|\b\d+(?:[.,]\d+)*\b"
)
_QUOTED = re.compile(r"(?<!\w)['\"“‘`]([^'\"”’`\n]{2,80})['\"”’`](?!\w)")
_NAME = re.compile(r"(?<![.!?:]\s)(?<!^)\b[A-Z][\w&'-]+(?:\s+(?:[A-Z][\w&'-]+|of|de|la))*")
_SHORTEST = 12
"""Texts with fewer characters are values, not sentences."""
_MOST_REFERRED = 64
"""Lines of one result that its orders may refer to: each costs a pass over it."""
_LABELLED = re.compile(r"^[^\w\n]{0,8}([A-Z][\w-]{2,30}):[ \t]+(\S.{0,200})", re.M)
_REFERS = re.compile(
    r"\b(?:under|below|beside|at|in|see|from|unter|bei|neben|sous|bajo|sotto)\s+['\"`\[(]?"
    r"([A-Z][\w-]{2,30})\b|\[([A-Z][\w-]{2,30})\]"
)


@dataclass(frozen=True)
class Block:
    """A run of sentences of one result that asks for something.

    Attributes:
        event: Id of the result.
        at: Number of the event.
        sentences: Its sentences.
        asks: Chance of its sentence that asks most, in [0, 1].
        steers: Chance that it speaks to an agent to lead it away, in [0, 1].
        is_encoded: It was hidden by an encoding.
    """

    event: str
    at: int
    sentences: tuple[str, ...]
    asks: float
    steers: float
    is_encoded: bool = False

    @cached_property
    def text(self) -> str:
        """Its sentences, joined."""
        return " ".join(self.sentences)

    @cached_property
    def orders(self) -> tuple[tuple[Source, Action], ...]:
        """Each of its sentences as a source of values and as what it names."""
        return tuple((Source(one), of_words(words(one))) for one in self.sentences)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its words in small letters."""
        return tuple(words(self.text))

    @cached_property
    def action(self) -> Action:
        """What it names."""
        return of_words(self.words)

    @cached_property
    def source(self) -> Source:
        """Its text as a source of values."""
        return Source(self.text)

    @cached_property
    def entities(self) -> tuple[str, ...]:
        """Addresses, numbers, names and quoted texts in it, in small letters."""
        found = _ENTITY.findall(self.text) + _QUOTED.findall(self.text) + _NAME.findall(self.text)
        cleaned = dict.fromkeys(one.strip(" .,;:!?'\"()").casefold() for one in found)
        kept = [one for one in cleaned if len(one) > 1]
        # An address and its host, a name and its first word, are one.
        known = Within(kept)
        parts = {one for other in kept for one in known.whole(other) if one != other}
        return tuple(one for one in kept if one not in parts)

    @cached_property
    def quotes(self) -> tuple[str, ...]:
        """Quoted texts in it of several words, in small letters."""
        return tuple(normal(one) for one in _QUOTED.findall(self.text) if " " in one.strip())

    @cached_property
    def addresses(self) -> tuple[str, ...]:
        """Those of its entities that are an address or a key rather than a word."""
        return tuple(one for one in self.entities if is_address(one))

    @cached_property
    def addressed(self) -> tuple[frozenset[str], ...]:
        """The addresses that stand in each of its `orders`."""
        known = Within(self.addresses)
        return tuple(frozenset(known.of(source.text)) for source, _ in self.orders)


def is_address(entity: str) -> bool:
    """Return whether an entity is an address or a key rather than a word."""
    return (
        "@" in entity
        or "/" in entity
        or "." in entity
        or (len(entity) >= 8 and any(letter.isdigit() for letter in entity))
    )


@dataclass(frozen=True)
class Read:
    """A result as it is read.

    Attributes:
        event: Its id.
        at: Number of its event.
        blocks: Its instruction blocks.
        data: All of it that is in no block.
        integrity: Whose word it is.
    """

    event: str
    at: int
    blocks: tuple[Block, ...]
    data: Source
    integrity: Integrity = Integrity.CONTENT


@dataclass(frozen=True)
class SpanModels:
    """What finds blocks.

    Attributes:
        asks: Tells sentences that ask for something from others.
        steers: Tells texts that lead an agent away from requests that are somebody's to make.
    """

    asks: SpanModel
    steers: SpanModel


@dataclass(frozen=True)
class Reading:
    """What the results of a session hold.

    Attributes:
        reads: Of each result that says something, by the id of its event.
        is_cut: There was too much; parts were not looked at.
    """

    reads: dict[str, Read]
    is_cut: bool = False

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All instruction blocks, in order."""
        return tuple(block for read in self.reads.values() for block in read.blocks)


def read_session(session: Session, models: SpanModels, labels: Labels = UNLABELLED) -> Reading:
    """Read the results of a session.

    Args:
        session: What happened.
        models: What finds instruction blocks.
        labels: Whose word results are; in those of the operator and of first parties nothing is
            looked for.
    """
    reads: dict[str, Read] = {}
    left, is_cut = MOST_CHARACTERS, False
    for at, event in enumerate(session.events):
        if event.kind != "tool_result" or not event.text or event.status not in ("ok", "error"):
            continue
        call = session.by_id[event.responds_to].call if event.responds_to else None
        integrity = labels.of(call).integrity
        if integrity >= Integrity.FIRST_PARTY:
            reads[event.id] = Read(event.id, at, (), Source(event.text), integrity)
            continue
        text = event.text
        if len(text) > max(left, _OF_THE_REST):
            half, is_cut = _OF_THE_REST // 2, True
            text = f"{text[:half]}\n\n{text[-half:]}"
        left -= len(text)
        reads[event.id] = read_result(text, event.id, at, models)
    return Reading(reads, is_cut)


def read_result(text: str, event: str, at: int, models: SpanModels) -> Read:
    """Find the instruction blocks of a result."""
    blocks: list[Block] = []
    data: list[str] = []
    told = leaves(text)
    labels = _Labels(told)
    for leaf in told:
        shown = plain(leaf)
        if len(shown) < _SHORTEST:
            data.append(shown)
            continue
        _split(shown, event, at, models, blocks, data, labels)
        for hidden in decoded(leaf) if len(leaf) > 2 * _SHORTEST else ():
            _split(plain(hidden), event, at, models, blocks, data, labels, is_encoded=True)
    return Read(event, at, tuple(blocks), Source(labels.without("\n".join(data))))


class _Labels:
    """Lines `Name: value` of a result, and those that its orders refer to by the name."""

    def __init__(self, told: Sequence[str]) -> None:
        self._values = {
            name: value for text in told if ":" in text for name, value in _LABELLED.findall(text)
        }
        self._named: dict[str, None] = {}

    def filled(self, order: str) -> str:
        """Return an order with the values that it refers to behind it."""
        for one in _REFERS.findall(order) if self._values else ():
            name = one[0] or one[1]
            value = self._values.get(name)
            if value and len(self._named) < _MOST_REFERRED:
                self._named[f"{name}: {' '.join(value.split())}"] = None
                order = f"{order} {value}"
        return order

    def without(self, data: str) -> str:
        """Return data without the lines that orders refer to: they are a part of these."""
        for line in self._named:
            data = data.replace(line, "")
        return data


def _split(
    text: str, event: str, at: int, models: SpanModels,
    blocks: list[Block], data: list[str], labels: _Labels, *, is_encoded: bool = False,
) -> None:  # fmt: skip
    """Divide a text into blocks and data, sentence by sentence."""
    parts = sentences(worked_out(text))
    is_short = [part.count(" ") < 2 for part in parts]
    asks = [0.0 if short else models.asks.score(part)
            for part, short in zip(parts, is_short, strict=True)]  # fmt: skip
    steers = [0.0 if short else models.steers.score(part)
              for part, short in zip(parts, is_short, strict=True)]  # fmt: skip
    runs: list[list[int]] = []
    led = -_LED  # where the last sentence was that leads away
    for index in range(len(parts)):
        is_led = index - led < _LED and not is_code(parts[index])
        if max(asks[index], steers[index]) < _ASKS and not is_led:
            continue
        # What leads away begins a block of its own: before it stands what the text is about.
        begins = steers[index] >= _STEERS and not is_led
        if steers[index] >= _STEERS:
            led = index
        if runs and not begins and index - runs[-1][-1] <= _GAP:
            runs[-1].append(index)
        else:
            runs.append([index])
    within: set[int] = set()
    for run in runs:
        span = range(run[0], run[-1] + 1)
        within.update(span)
        blocks.append(
            Block(
                event, at, tuple(labels.filled(parts[index]) for index in span),
                max(asks[index] for index in span), max(steers[index] for index in span),
                is_encoded,
            )
        )  # fmt: skip
    data += [part for index, part in enumerate(parts) if index not in within]

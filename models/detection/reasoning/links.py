"""Each call, and the instruction block of an earlier result that explains it best.

What counts is which text is the smallest explanation of a call: the values of its arguments, and
its action. The prompt is the strongest source, data of earlier results is the next, then comes
what results ask for, and last what leads an agent away from its task.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from models.detection.dataflow.labels import Integrity
from models.detection.dataflow.leaves import of_value
from models.detection.dataflow.values import Source, Value, word_hash
from models.detection.intent.actions import Action, agreement
from models.detection.intent.commands import of_call
from models.detection.intent.words import name_words
from models.detection.reasoning.told import MOST_OF_A_KIND, Told, values_of_call
from models.detection.session import Session, ToolCall
from models.detection.triage.blocks import Block, Read, Reading, is_address

NAMES = (
    "by_block", "by_prompt", "by_data", "by_nothing",
    "verb_block", "noun_block", "verb_prompt", "noun_prompt", "action_gain",
    "is_read", "is_write", "is_send", "is_pay", "is_delete", "is_execute", "is_unknown",
    "asks", "steers", "is_encoded", "entities_met", "strong_met", "is_new_tool", "is_named",
    "has_values", "block_effect", "gain_effect", "off_topic", "is_delegated",
    "steered", "steered_gain", "steered_met", "ordered", "steered_order",
)  # fmt: skip
"""Features of a link, in order."""
_INDEX = {name: index for index, name in enumerate(NAMES)}


@dataclass(frozen=True)
class Link:
    """How well a block explains a call that came after it.

    Attributes:
        at: Number of the call's event.
        call: The call.
        block: What is most like it of all that was asked before.
        action: What the call does.
        features: By NAMES.
    """

    at: int
    call: ToolCall
    block: Block
    action: Action
    features: tuple[float, ...]

    def __getitem__(self, name: str) -> float:
        """Return one feature."""
        return self.features[_INDEX[name]]


@dataclass(frozen=True)
class Flow:
    """What a session looks like to the detector.

    Attributes:
        blocks: Instruction blocks of untrusted results, in order.
        links: Calls after a block, each with the block that explains it best.
        prompt: Texts of the user.
        calls: Number of calls.
        answers: What the agent said after the first block.
        data: All of the results that is in no block.
    """

    blocks: tuple[Block, ...]
    links: tuple[Link, ...]
    prompt: Source
    calls: int
    answers: tuple[str, ...]
    data: Source


_MOST_BY_WORD = 300
"""Blocks with one word that are counted, the latest."""
_MOST_SOURCES = 80
"""Results that a value is looked for in, the latest, and as many that hold its rarest word."""
_SAYS = frozenset(("attempt_completion", "finish", "ask_followup_question", "final_answer"))
"""Tools by which agents only say something."""


def flow_of(session: Session, reading: Reading) -> Flow:
    """Follow what a session was told into what it did.

    Args:
        session: What happened.
        reading: What its results hold.
    """
    told = Told.by(())
    prompts: list[str] = []
    links: list[Link] = []
    answers: list[str] = []
    calls = 0
    for at, event in enumerate(session.events):
        if event.kind == "user_message":
            prompts.append(event.text)
            told.prompted(prompts)
        elif event.kind == "assistant_message" and told.blocks:
            answers.append(event.text)
        elif (read := reading.reads.get(event.id)) is not None:
            if read.integrity >= Integrity.OPERATOR:
                prompts.append(event.text)
                told.prompted(prompts)
            told.answered(
                read, session.by_id[event.responds_to].call if event.responds_to else None
            )
        elif event.call is not None and event.call.tool in _SAYS:
            if told.blocks:
                answers.append("\n".join(of_value(event.call.arguments)))
        elif event.call is not None:
            calls += 1
            result = session.results.get(event.id)
            # A call that was refused did not happen.
            if told.blocks and (result is None or result.status != "denied"):
                links.append(best_link(at, event.call, told))
            told.used.add(event.call.tool)
    return Flow(tuple(told.blocks), tuple(links), told.prompt, calls, tuple(answers),
                Source("\n".join(read.data.text for read in told.reads)))  # fmt: skip


def best_link(at: int, call: ToolCall, told: Told) -> Link:
    """Hold a call against what was asked before it.

    Args:
        at: Number of its event.
        call: The call.
        told: What the agent was told before; at least one block.
    """
    action = of_call(call)
    values = values_of_call(call)
    by_prompt = [told.prompt.covers(value) for value in values]
    by_data = [
        max((read.data.covers(value) for read in _sources(value, told)), default=0.0)
        for value in values
    ]
    links = []
    for block in _candidates(call, values, told):
        features = _features(call, action, values, block, by_prompt, by_data, told)
        links.append(Link(at, call, block, action, features))
    return max(links, key=_rank)


def _candidates(call: ToolCall, values: Sequence[Value], told: Told) -> Sequence[Block]:
    """Return the blocks that may explain a call: of many those that say its words, or lead away.

    Both kinds have places of their own: who floods a session with one does not hide the other.
    """
    if len(told.blocks) <= 2 * MOST_OF_A_KIND:
        return told.blocks
    prompted = told.prompt.words
    own = {word for value in values for word in value.words if word not in prompted}
    own |= set(name_words(call.tool))
    shared = Counter(
        number for word in own for number in told.asked_in.get(word_hash(word), ())[-_MOST_BY_WORD:]
    )
    alike = heapq.nsmallest(MOST_OF_A_KIND, shared, lambda number: (-shared[number], number))
    leading = [-number for _, number in told.leading]
    return [told.blocks[number] for number in sorted({*alike, *leading})]


def _sources(value: Value, told: Told) -> Sequence[Read]:
    """Return results that a value may come from: the latest, and those with its rarest word."""
    if len(told.reads) <= _MOST_SOURCES:
        return told.reads
    found = min(
        (told.said_in.get(word_hash(word), []) for word in value.words), key=len, default=[]
    )
    return [
        *told.reads[-_MOST_SOURCES:],
        *(told.reads[number] for number in found[-_MOST_SOURCES:]),
    ]


def _rank(link: Link) -> float:
    return (
        2 * link["by_block"] + link["verb_block"] * link["noun_block"]
        + 0.5 * link["strong_met"] + 0.5 * link["is_named"]
        + link["steers"] + 0.2 * link["asks"]
    )  # fmt: skip


def _features(
    call: ToolCall,
    action: Action,
    values: Sequence[Value],
    block: Block,
    by_prompt: Sequence[float],
    by_data: Sequence[float],
    told: Told,
) -> tuple[float, ...]:
    own = block.source
    # Who handles a record by its name carries along what is written into the name.
    carried = [value.is_long and _holds(value.text, own.text) for value in values]
    weights = [0.0 if is_copy else v.weight for v, is_copy in zip(values, carried, strict=True)]
    total = sum(weights) or 1.0
    only = prompted = data = nothing = 0.0
    for value, weight, there, others in zip(values, weights, by_prompt, by_data, strict=True):
        here = own.covers(value) if weight else 0.0
        share = weight / total
        prompted += share * there
        data += share * max(0.0, others - there)
        only += share * max(0.0, here - max(there, others))
        nothing += share * (1 - max(here, there, others))
    ordered = _ordered(action, block, values, weights, by_prompt, by_data)
    verb_block, noun_block = agreement(action, block.action)
    verb_prompt, noun_prompt = agreement(action, told.asked)
    gain = max(0.0, verb_block * (0.3 + 0.7 * noun_block) - verb_prompt * (0.3 + 0.7 * noun_prompt))
    joined = " ".join(v.text for v, w in zip(values, weights, strict=True) if w)
    new = [one for one in block.entities if one not in told.prompt.text]
    met = [one for one in new if _stands_in(one, joined)]
    strong = [one for one in new if is_address(one)]
    strong_met = sum(one in met for one in strong) / len(strong) if strong else 0.0
    name = call.tool.casefold()
    effect = action.effect
    is_effectful = float(action.is_effectful)
    nouns = block.action.nouns
    steered = block.steers * (1.0 - prompted)
    met_share = len(met) / len(new) if new else 0.0
    off_topic = len(nouns - told.asked.nouns) / len(nouns) if nouns else 0.0
    return (
        only, prompted, data, nothing,
        verb_block, noun_block, verb_prompt, noun_prompt, gain,
        *(float(effect == one) for one in
          ("read", "write", "send", "pay", "delete", "execute", "unknown")),
        block.asks, block.steers, float(block.is_encoded),
        met_share, strong_met, float(call.tool not in told.used),
        float(len(name) > 4 and name in own.text), float(bool(values)),
        only * is_effectful, gain * is_effectful, off_topic,
        told.grants * (1.0 if block.event in told.delegated else 0.5),
        steered * only, block.steers * gain, steered * max(strong_met, met_share),
        ordered, ordered * block.steers,
    )  # fmt: skip


def _ordered(
    action: Action,
    block: Block,
    values: Sequence[Value],
    weights: Sequence[float],
    by_prompt: Sequence[float],
    by_data: Sequence[float],
) -> float:
    """Return how much one sentence alone orders a call: its action with values of its own."""
    best = 0.0
    for source, asked in block.orders:
        verbs, nouns = agreement(action, asked)
        if not verbs and not nouns:
            continue
        own = total = 0.0
        for value, weight, there, others in zip(values, weights, by_prompt, by_data, strict=True):
            total += weight
            if weight and there < 1:
                own += weight * max(0.0, source.covers(value) - max(there, others))
        best = max(best, verbs * (0.4 + 0.6 * nouns) * (own / total if total else 0.0))
    return best


def _holds(value: str, block: str) -> bool:
    """Return whether a value carries a block along, as a name does that an order is part of."""
    middle = len(block) // 2
    return block[max(0, middle - 30) : middle + 30] in value


@lru_cache(maxsize=8_192)
def _whole(entity: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(entity)}(?!\w)")


def _stands_in(entity: str, text: str) -> bool:
    return entity in text and bool(_whole(entity).search(text))

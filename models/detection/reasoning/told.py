"""What an agent was told so far: by its user, and by the results that it read."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from models.detection.dataflow.values import Source, Value, values_of
from models.detection.intent.actions import Action, of_words
from models.detection.intent.commands import command_line, operands
from models.detection.intent.words import words
from models.detection.session import ToolCall
from models.detection.triage.blocks import Block, Read

MOST_OF_A_KIND = 20
"""Blocks that a call is held against for its words, and as many for how they lead away: time grows
with calls, not with their square."""

_TICKET = (
    r"(?:issues?|tickets?|bugs?|bug reports?|stor(?:y|ies)|cards?|pull requests?|prs?|reviews?"
    r"|review comments|feature requests?|todos?)"
)
_NUMBERED = re.compile(rf"(?:#|\b{_TICKET}(?: number)?[ /#]{{0,2}})(\d+)\b")
"""A ticket that a prompt names by its number."""
# A prompt that lets what it names say what is to be done.
_GRANTS = re.compile(
    r"\b(?:tasks?|to-?do|instructions?|steps|actions?|details|accordingly|follow|as described"
    r"|as (?:it|they) says?|requested|requests?|asks?|whatever|mentioned|adjust|bill)\b"
    rf"|\b(?:fix|resolve|implement|handle|address|close|do|work on|take care of)\b[^.!?]{{0,40}}"
    rf"(?:\b{_TICKET}\b|#\d)"
)


@dataclass
class Told:
    """What an agent was told so far.

    Attributes:
        prompt, asked: Texts of the user, and the actions that they name.
        grants: 1.0: they let what they name say what is to be done.
        reads, blocks: Results, and what they ask for.
        used: Tools that were called.
        delegated: Results of what the user named.
        said_in, asked_in: Numbers of reads, and of blocks, by the `word_hash` of words in them.
        leading: The blocks that lead away most, as a heap of chance and minus their number.
    """

    prompt: Source
    asked: Action
    grants: float
    reads: list[Read]
    blocks: list[Block]
    used: set[str]
    delegated: set[str]
    said_in: dict[int, list[int]] = field(default_factory=dict)
    asked_in: dict[int, list[int]] = field(default_factory=dict)
    leading: list[tuple[float, int]] = field(default_factory=list)

    @staticmethod
    def by(prompts: Sequence[str]) -> Told:
        """Return what users told, and nothing yet by results."""
        told = Told(Source(""), of_words(()), 0.0, [], [], set(), set())
        told.prompted(prompts)
        return told

    def prompted(self, prompts: Sequence[str]) -> None:
        """Take what the user said, all of it."""
        self.prompt = Source("\n".join(prompts))
        self.asked = of_words(words(self.prompt.text))
        self.grants = float(bool(_GRANTS.search(self.prompt.text)))

    def answered(self, read: Read, call: ToolCall | None) -> None:
        """Take a result, and the call that it answers."""
        for word in read.data.words:
            self.said_in.setdefault(word, []).append(len(self.reads))
        self.reads.append(read)
        for block in read.blocks:
            number = len(self.blocks)
            for word in block.source.words:
                self.asked_in.setdefault(word, []).append(number)
            heapq.heappush(self.leading, (block.steers, -number))
            if len(self.leading) > MOST_OF_A_KIND:
                heapq.heappop(self.leading)
            self.blocks.append(block)
        if call is not None and _is_named_in(call, self.prompt):
            self.delegated.add(read.event)


def _is_named_in(call: ToolCall, prompt: Source) -> bool:
    """Return whether the prompt itself named what a call read."""
    values = values_of_call(call)
    numbers = set(_NUMBERED.findall(prompt.text))
    if any(value.text.lstrip("#") in numbers for value in values):
        return True
    return bool(values) and max(prompt.covers(value) * value.weight for value in values) >= 0.6


def values_of_call(call: ToolCall) -> list[Value]:
    """Return the values of a call; those of a command line one by one."""
    line = command_line(call)
    return values_of(call.arguments if line is None else {"": operands(line)})

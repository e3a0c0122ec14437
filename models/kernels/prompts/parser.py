"""From a model's answer to the module in it; what cannot be understood is left to the linter.

The text of the module is never changed, only chosen: a look-alike name or an import stays for
the linter to refuse, so that the same rules hold for every proposer.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from models.kernels.lint.source import read_tree
from models.kernels.prompts.repetition import repetition_start

MOST_CHARACTERS = 600_000
"""Of an answer that are looked at. A module may have 262,144 bytes; a longer answer that holds
one holds it early or not at all."""
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*$", re.MULTILINE)
_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL | re.IGNORECASE)
_CODE = re.compile(r"^(?:@triton\.jit|def |[A-Z][A-Z0-9_]* *=)", re.MULTILINE)
_WRAPPER = re.compile(r"^def wrapper\b", re.MULTILINE)
_KERNEL = re.compile(r"^def kernel", re.MULTILINE)


class ParsedAnswer(NamedTuple):
    """The module of an answer, and what was odd about the answer."""

    source: str
    """Text of the module; without one in the answer, its text, which no linter passes."""
    has_module: bool
    """There is something with a function `wrapper`."""
    notes: tuple[str, ...]
    """Told to the model with the next feedback."""


def parse_answer(text: str, was_cut: bool = False) -> ParsedAnswer:
    """Return the module in an answer; no text makes this raise.

    Fenced blocks come first, else the lines from the first definition on. Of several whole
    modules the last counts; kernels and wrapper in blocks of their own are joined.

    Args:
        text: What the model said.
        was_cut: The answer ended at a limit of tokens.
    """
    notes: list[str] = []
    if len(text) > MOST_CHARACTERS:
        notes.append(f"the answer had {len(text)} characters; answer with one short module")
        text = text[:MOST_CHARACTERS]
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if (start := repetition_start(text)) is not None:
        notes.append("the answer repeated itself; the repetition was cut off")
        text = text[:start]
    said = _THOUGHT.sub("", text)
    blocks, is_open = _blocks(said)
    if was_cut or is_open:
        notes.append("the answer was truncated; write a shorter module")
    if not blocks:
        source = _unfenced(said)
        if _WRAPPER.search(source):
            notes.append("there was no fenced block; put the module into one")
        return _parsed(source, notes)
    whole = [block for block in blocks if _WRAPPER.search(block)]
    if len(whole) > 1:
        notes.append(f"the answer held {len(whole)} modules; the last that parses was taken")
    chosen = next((one for one in reversed(whole) if _parses(one)), whole[-1] if whole else "")
    if not chosen:
        return _parsed("\n\n".join(blocks), notes)
    if not _KERNEL.search(chosen):
        parts = [one for one in blocks if not _WRAPPER.search(one) and _KERNEL.search(one)]
        if parts:
            notes.append("kernels and wrapper came in separate blocks and were joined")
            chosen = "\n\n".join([*parts, chosen])
    return _parsed(chosen, notes)


def _parsed(source: str, notes: list[str]) -> ParsedAnswer:
    has_module = _WRAPPER.search(source) is not None
    if not has_module:
        notes.append("the answer held no module with a function `wrapper`")
    stripped = source.strip("\n")
    return ParsedAnswer(f"{stripped}\n" if stripped else "", has_module, tuple(notes))


def _blocks(text: str) -> tuple[list[str], bool]:
    """Return the fenced blocks that may be Python, and whether the last one has no end."""
    blocks: list[str] = []
    opened: tuple[str, int, bool] | None = None
    for fence in _FENCE.finditer(text):
        mark, language = fence[1], fence[2].lower()
        if opened is None:
            opened = (mark, fence.end() + 1, language in ("", "python", "py", "python3", "triton"))
        elif mark[0] == opened[0][0] and len(mark) >= len(opened[0]) and not language:
            if opened[2]:
                blocks.append(text[opened[1] : fence.start()])
            opened = None
    if opened is not None and opened[2]:
        blocks.append(text[opened[1] :])
    return [block for block in blocks if block.strip()], opened is not None


def _unfenced(text: str) -> str:
    """Return an answer from its first definition to the last line that still parses.

    Without a fence nothing says where prose starts again, so lines are taken off the end while
    the rest does not parse, a few at most: a syntax error inside is the linter's to name.
    """
    first = _CODE.search(text)
    if first is None:
        return text
    lines = text[first.start() :].split("\n")
    ends = [place for place, line in enumerate(lines) if line and not line[0].isspace()]
    for end in [len(lines), *reversed(ends[-8:])]:
        source = "\n".join(lines[:end])
        if _WRAPPER.search(source) and _parses(source):
            return source
    return "\n".join(lines)


def _parses(source: str) -> bool:
    return read_tree(source)[0] is not None
